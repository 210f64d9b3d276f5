"""Scalars as tokens: for any backbone."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from metavoxel.adapters.base import AbstractAdapter, AbstractAdapterSpec, AdapterContext, Features, Streams
from metavoxel.adapters.embedding import TIME_FEATURES, row_time, time_features
from metavoxel.typing import Code, Mask, Time


class TokenAdapter(AbstractAdapter):
    """One token of the value, its time and whether it is given; the head reads the token that comes back. Final."""

    tokens = 1

    def __init__(self, context: AdapterContext, dropout: float) -> None:
        super().__init__()
        width, channels = context.ports.token_width, context.code_shape[0]
        self.inlet = nn.Sequential(nn.Linear(channels + TIME_FEATURES + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.outlet = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(width, context.prediction_channels),
        )

    def embed(self, x: Code, time: Time, observed: Mask) -> Streams:
        inputs = torch.cat([x, time_features(row_time(time)).to(x), observed.to(x)], 1)
        return Streams({}, self.inlet(inputs)[:, None])

    def head(self, features: Features) -> Float[Tensor, "b p"]:
        assert features.tokens is not None
        prediction: Tensor = self.outlet(features.tokens[:, 0])
        return prediction


class TokenAdapterSpec(AbstractAdapterSpec):
    """A scalar (or a short vector) as one token."""

    type: Literal["token"] = "token"
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the head's last layer")

    def build(self, context: AdapterContext) -> TokenAdapter:
        return TokenAdapter(context, self.dropout)

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        if spatial:
            return ["adapter 'token' carries scalars, and this variable is an image. Use adapter 'grid'"]
        return []
