"""Scalars as tokens, for any backbone."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from metavoxel.parts.adapters.base import (
    AbstractAdapter,
    AbstractAdapterSpec,
    AdapterContext,
    AdapterInputs,
    BackboneOutputs,
    Streams,
)
from metavoxel.parts.adapters.embedding import TIME_FEATURES, row_time, time_features
from metavoxel.parts.features.base import AbstractFeatures, FeaturesContext
from metavoxel.parts.features.scalar import scalar_features

TIME_SCALE = 0.1
"""Factor of the initial weights of the time features: at full scale, these sixteen dominate the one value, and fine
structure is learnt late."""

TAG_SPREAD = 0.5
"""Initial standard deviation of the tags that distinguish tokens of shared layers: several times that of the layers'
output."""

MANY = 64
"""Number of variables above which layers are shared by default."""


class TokenLayers(nn.Module):
    """Input and output layers of a token, of one variable or shared by several. Final."""

    def __init__(self, context: AdapterContext, dropout: float) -> None:
        super().__init__()
        width, channels = context.ports.token_width, context.code_shape[0]
        inputs = channels + TIME_FEATURES + 1 + context.expected
        self.in_proj = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))
        self.out_proj = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(width, context.outputs),
        )
        first, last = self.in_proj[0], self.out_proj[-1]
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        with torch.no_grad():
            first.weight[:, channels : channels + TIME_FEATURES] *= TIME_SCALE
        if context.features is not None:  # start from the baseline alone
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


class TokenAdapter(AbstractAdapter):
    """One token of the value, its time, its observed mask and its expected features. Final.

    The layers are the variable's own or ``context.common``, which adds a learnt tag that identifies the variable.
    """

    tokens = 1
    needs_grids = False
    stackable = True

    def __init__(self, context: AdapterContext, dropout: float) -> None:
        super().__init__()
        layers: nn.Module
        if context.common is None:
            layers = self.own = TokenLayers(context, dropout)
            self.tag = None
        else:
            layers = context.common
            self.tag = nn.Parameter(torch.randn(context.ports.token_width) * TAG_SPREAD)
        assert isinstance(layers, TokenLayers)
        self._layers = (layers,)  # a tuple is not registered: the model registers common layers

    def embed(self, inputs: AdapterInputs) -> Streams:
        x, time = inputs.x, time_features(row_time(inputs.time))
        (layers,) = self._layers
        token: Tensor = layers.in_proj(torch.cat([x, time.to(x), inputs.observed.to(x), inputs.expected.to(x)], 1))
        return Streams({}, (token if self.tag is None else token + self.tag)[:, None])

    def head(self, outputs: BackboneOutputs) -> Float[Tensor, "b q"]:
        (layers,) = self._layers
        assert outputs.tokens is not None
        output: Tensor = layers.out_proj(outputs.tokens[:, 0])
        return output


class TokenAdapterSpec(AbstractAdapterSpec):
    """A scalar (or a short vector) as one token."""

    type: Literal["token"] = "token"
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the head's last layer")
    baseline: bool = Field(
        True,
        description="whether the variable is part of the Gaussian baseline, for its own and other variables' "
        "predictions. Off for thousands of rows with structure much finer than their spread, which a network that "
        "starts from a linear model is slow to learn",
    )
    alike: bool | None = Field(
        None,
        description="whether all variables with these settings (and one kernel and code shape) share their tokens' "
        "layers, each with its own learnt tag: for repeated measurements; by default in models of more than "
        f"{MANY} variables, where separate layers would be most of the weights",
    )

    @classmethod
    def examples(cls) -> Sequence["TokenAdapterSpec"]:
        return [cls(), cls(alike=True)]

    def features(self, context: FeaturesContext) -> AbstractFeatures | None:
        return scalar_features(context.kernel, context.code_shape[0]) if self.baseline else None

    def common(self, context: AdapterContext) -> TokenLayers | None:
        alike = context.variables > MANY if self.alike is None else self.alike
        return TokenLayers(context, self.dropout) if alike else None

    def build(self, context: AdapterContext) -> TokenAdapter:
        return TokenAdapter(context, self.dropout)

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        if spatial:
            return ["adapter 'token' carries scalars, and this variable is an image. Use adapter 'grid'"]
        return []
