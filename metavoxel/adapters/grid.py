"""Image latents as maps on a grid port, with a token that sums them up."""

import math
from abc import ABC
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from metavoxel.adapters.base import AbstractAdapter, AbstractAdapterSpec, AdapterContext, Features, Streams
from metavoxel.adapters.embedding import TIME_FEATURES, convolution, row_time, time_features
from metavoxel.kernels.base import along
from metavoxel.typing import Code, Mask, Time


class GridAdapter(AbstractAdapter):
    """(b, c, *s) latents into a stem convolution, and, if asked, their principal components into a token. Final.

    The components are those of the training rows' latents. A few dozen of them hold most of what a small cohort can
    teach about a scalar, and a network that sees only the convolutions' pooled features finds it later, if at all.
    """

    def __init__(self, context: AdapterContext, components: int, dropout: float) -> None:
        super().__init__()
        assert context.port is not None
        channels, *grid = context.code_shape
        ports = context.ports
        self._port = context.port
        self.tokens = 1 if components else 0
        self.stem = convolution(len(grid), channels + 2, ports.grid_width, kernel_size=3, padding=1)
        self.outlet = nn.Sequential(
            nn.GroupNorm(math.gcd(8, ports.grid_width), ports.grid_width),
            nn.SiLU(),
            convolution(len(grid), ports.grid_width, context.prediction_channels, kernel_size=3, padding=1),
        )
        if components:
            self.register_buffer("directions", torch.zeros(components, math.prod(context.code_shape)))
            self.register_buffer("center", torch.zeros(math.prod(context.code_shape)))
            self.directions: Tensor
            self.center: Tensor
            self.inlet = nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(components + TIME_FEATURES, ports.token_width),
                nn.SiLU(),
                nn.Linear(ports.token_width, ports.token_width),
            )

    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        """Principal components, scaled so that each has unit variance over the training rows (whitened)."""
        if not self.tokens:
            return
        rows = torch.cat([batch.flatten(1) for batch in codes()])
        self.center.copy_(rows.mean(0))
        components = min(len(self.directions), len(rows) - 1)
        _, strengths, directions = torch.linalg.svd(rows - self.center, full_matrices=False)
        spreads = strengths[:components, None] / math.sqrt(max(len(rows) - 1, 1))
        self.directions.zero_()
        self.directions[:components] = directions[:components] / spreads.clamp_min(1e-6)

    def embed(self, x: Code, time: Time, observed: Mask) -> Streams:
        cells = (len(x), 1, *x.shape[2:])
        maps = [x, observed.to(x).expand(cells), along(time, x).to(x).expand(cells)]
        return Streams({self._port: self.stem(torch.cat(maps, 1))}, self.embed_tokens(x, time, observed))

    def embed_tokens(self, x: Code, time: Time, observed: Mask) -> Float[Tensor, "b n w"] | None:
        if not self.tokens:
            return None
        with torch.autocast(x.device.type, enabled=False):
            scores = (x.flatten(1).float() - self.center) @ self.directions.T
        inputs = torch.cat([scores, time_features(row_time(time)).to(scores)], 1)
        token: Tensor = self.inlet(inputs)[:, None]
        return token

    def head(self, features: Features) -> Float[Tensor, "b p *s"]:
        prediction: Tensor = self.outlet(features.grids[self._port])
        return prediction


class _GridSpec(AbstractAdapterSpec, ABC):
    """What both specs share: only a variable with a grid can be carried so."""

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        if not spatial:
            carries = f"adapter {self.type!r} carries images, and this variable is a scalar"
            return [f"{carries}. Use adapter 'token' or 'painted'"]
        return []


class GridAdapterSpec(_GridSpec):
    """An image's latent on its own grid and nothing else, as in the paper."""

    type: Literal["grid"] = "grid"

    def build(self, context: AdapterContext) -> GridAdapter:
        return GridAdapter(context, components=0, dropout=0.0)


class GridSummaryAdapterSpec(_GridSpec):
    """An image's latent on its own grid, with its leading principal components as a token."""

    type: Literal["grid_summary"] = "grid_summary"
    components: PositiveInt = Field(24, description="principal components of the training latents in the token")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the components")

    def build(self, context: AdapterContext) -> GridAdapter:
        return GridAdapter(context, self.components, self.dropout)
