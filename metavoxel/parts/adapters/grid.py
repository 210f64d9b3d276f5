"""Image latents as maps on a grid port: as in the paper, or with principal components in the Gaussian baseline."""

import math
from abc import ABC
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
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
from metavoxel.parts.convolutions import convolution
from metavoxel.parts.features.base import FeaturesContext
from metavoxel.parts.features.components import ComponentFeatures
from metavoxel.parts.kernels.base import along

SHIFT_SPREAD = 0.02
"""Initial standard deviation of the weights of shifts along components: small, but not 0, so that gradients pass."""


class GridAdapter(AbstractAdapter):
    """A stem convolution of the latent, its observed cells and times, and an output convolution. Final."""

    tokens = 0
    needs_grids = True

    def __init__(self, context: AdapterContext) -> None:
        super().__init__()
        assert context.port is not None
        channels, *grid = context.code_shape
        ports = context.ports
        self._port = context.port
        self.stem = convolution(len(grid), channels + 2, ports.grid_width, kernel_size=3, padding=1)
        self.out_proj = nn.Sequential(
            nn.GroupNorm(math.gcd(8, ports.grid_width), ports.grid_width),
            nn.SiLU(),
            convolution(len(grid), ports.grid_width, context.outputs, kernel_size=3, padding=1),
        )

    def embed(self, inputs: AdapterInputs) -> Streams:
        x, cells = inputs.x, (len(inputs.x), 1, *inputs.x.shape[2:])
        maps = [x, inputs.observed.to(x).expand(cells), along(inputs.time, x).to(x).expand(cells)]
        return Streams({self._port: self.stem(torch.cat(maps, 1))}, None)

    def head(self, outputs: BackboneOutputs) -> Float[Tensor, "b q *s"]:
        output: Tensor = self.out_proj(outputs.grids[self._port])
        return output


class GridSummaryAdapter(AbstractAdapter):
    """A grid adapter with principal components of the training latents as features. Final.

    The components' scores (:class:`metavoxel.parts.features.components.ComponentFeatures`) are the image's features in
    the Gaussian baseline. The baseline's prediction enters the stem; the expected scores enter as a token, whose output
    shifts the prediction along the components. A few dozen components carry most of the dependence between image and
    scalars that a small cohort determines, and which a convolutional network alone learns late, if at all.
    """

    tokens = 1

    def __init__(self, context: AdapterContext, dropout: float) -> None:
        super().__init__()
        width, features = context.ports.token_width, context.features
        self.grid = GridAdapter(context)
        self.in_proj = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(context.expected + TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width)
        )
        assert features is None or isinstance(features, ComponentFeatures)
        self._components = () if features is None else (features.components,)
        self.needs_grids = features is None
        if features is None:
            return
        channels, width_in = context.outputs, context.ports.grid_width
        self.stem = convolution(len(context.code_shape) - 1, channels, width_in, kernel_size=3, padding=1)
        self.shift = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, features.size))
        (last,), shift = list(self.grid.out_proj.children())[-1:], self.shift[1]
        for module, spread in ((last, 0.0), (shift, SHIFT_SPREAD)):  # start from the baseline alone
            assert isinstance(module.weight, Tensor) and isinstance(module.bias, Tensor)
            nn.init.normal_(module.weight, std=spread)
            nn.init.zeros_(module.bias)

    def embed(self, inputs: AdapterInputs) -> Streams:
        maps = self.grid.embed(inputs).grids
        if inputs.baseline is not None:
            maps = {port: grid + self.stem(inputs.baseline) for port, grid in maps.items()}
        return self.embed_without_grids(inputs)._replace(grids=maps)

    def embed_without_grids(self, inputs: AdapterInputs) -> Streams:
        time = time_features(row_time(inputs.time)).to(inputs.expected)
        token: Tensor = self.in_proj(torch.cat([inputs.expected, time], 1))
        return Streams({}, token[:, None])

    def head(self, outputs: BackboneOutputs) -> Float[Tensor, "b q *s"]:
        parts = [self.grid.head(outputs)] if outputs.grids else []
        for components in self._components:
            assert outputs.tokens is not None
            parts.append(components.along(self.shift(outputs.tokens[:, 0])))
        return torch.stack(parts).sum(0)


class _GridSpec(AbstractAdapterSpec, ABC):
    """Common base of the settings of both adapters."""

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        if not spatial:
            carries = f"adapter {self.type!r} carries images, and this variable is a scalar"
            return [f"{carries}. Use adapter 'token' or 'painted'"]
        return []


class GridAdapterSpec(_GridSpec):
    """An image's latent on its own grid, as in the paper."""

    type: Literal["grid"] = "grid"

    def build(self, context: AdapterContext) -> GridAdapter:
        return GridAdapter(context)


class GridSummaryAdapterSpec(_GridSpec):
    """An image's latent on its own grid, with principal components as features and a token of their scores."""

    type: Literal["grid_summary"] = "grid_summary"
    components: PositiveInt = Field(48, description="principal components of the training latents")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the components in the token")

    def features(self, context: FeaturesContext) -> ComponentFeatures | None:
        return ComponentFeatures(self.components, context) if context.kernel.is_gaussian else None

    def build(self, context: AdapterContext) -> GridSummaryAdapter:
        return GridSummaryAdapter(context, self.dropout)
