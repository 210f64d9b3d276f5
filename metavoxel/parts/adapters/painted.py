"""Scalars in a U-Net as in the paper (MetaVoxel 3.1): as a constant map and as a cross-attention token."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metavoxel.parts.adapters.base import (
    AbstractAdapter,
    AbstractAdapterSpec,
    AdapterContext,
    AdapterInputs,
    BackboneOutputs,
    Streams,
)
from metavoxel.parts.convolutions import convolution


class _BottleneckHead(nn.Module):
    """Two (GroupNorm, SiLU, convolution) blocks with a skip connection, then global average pooling."""

    def __init__(self, dimensions: int, width: int, channels: int) -> None:
        super().__init__()
        groups = math.gcd(8, width)
        self.first = nn.Sequential(
            nn.GroupNorm(groups, width), nn.SiLU(), convolution(dimensions, width, width, kernel_size=3, padding=1)
        )
        self.second = nn.Sequential(
            nn.GroupNorm(groups, width), nn.SiLU(), convolution(dimensions, width, channels, kernel_size=3, padding=1)
        )
        self.skip = convolution(dimensions, width, channels, kernel_size=1)

    def forward(self, bottleneck: Float[Tensor, "b w *s"]) -> Float[Tensor, "b p"]:
        features = self.second(self.first(bottleneck)) + self.skip(bottleneck)
        pooled: Tensor = features.flatten(2).mean(2)
        return pooled


class PaintedAdapter(AbstractAdapter):
    """The value as a constant map on every grid and as cross-attention context; the head pools the bottleneck. Final.

    A binary category enters as one scalar in [-1, 1], any other variable by a linear map of its code. Adding the map to
    the others is equivalent to a further input channel of the first convolution.
    """

    tokens = 0
    needs_grids = True

    def __init__(self, context: AdapterContext) -> None:
        super().__init__()
        ports, channels = context.ports, context.code_shape[0]
        self._grids = ports.grids
        self._binary = channels == 2 and context.kernel.is_categorical
        inputs = 1 if self._binary else channels
        self.paint = nn.Linear(inputs, ports.grid_width)
        self.in_proj = nn.Linear(inputs, ports.token_width)
        self.heads = nn.ModuleDict(
            {
                name: _BottleneckHead(len(grid), ports.bottleneck_width, context.outputs)
                for name, grid in ports.grids.items()
            }
        )

    def embed(self, inputs: AdapterInputs) -> Streams:
        value = inputs.x[:, 1:] - inputs.x[:, :1] if self._binary else inputs.x
        paint = self.paint(value)
        maps = {name: paint.reshape(*paint.shape, *[1] * len(grid)) for name, grid in self._grids.items()}
        return Streams(maps, None, self.in_proj(value)[:, None])

    def head(self, outputs: BackboneOutputs) -> Float[Tensor, "b q"]:
        return torch.stack([head(outputs.bottlenecks[name]) for name, head in self.heads.items()]).mean(0)


class PaintedAdapterSpec(AbstractAdapterSpec):
    """A scalar on a backbone with grids, as in the paper."""

    type: Literal["painted"] = "painted"

    def build(self, context: AdapterContext) -> PaintedAdapter:
        return PaintedAdapter(context)

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        if spatial:
            return ["adapter 'painted' carries scalars, and this variable is an image. Use adapter 'grid'"]
        if not grids:
            return ["adapter 'painted' needs an image in the schema to paint on. Use adapter 'token'"]
        return []
