"""Sequences, with one token for each cell of a code, for any backbone."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
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
from metavoxel.parts.adapters.embedding import TIME_FEATURES, time_features
from metavoxel.parts.convolutions import convolution
from metavoxel.parts.indices import is_indices
from metavoxel.parts.kernels.base import along

NEIGHBOURS, GRID_NEIGHBOURS = 7, 3
"""Cells along each axis that a token has in its input: of a sequence, and of a code with more axes."""
POSITION_SPREAD = 0.5
"""Initial standard deviation of the learnt positions, as of the tags of scalar tokens."""


class SequenceAdapter(AbstractAdapter):
    """A token of every cell: its state, its own time, whether it is observed, and its learnt position. Final.

    The neighbouring cells enter by a convolution, since attention alone learns an order of words only in thousands of
    steps.
    """

    needs_grids = False
    takes_indices = True

    def __init__(self, context: AdapterContext, dropout: float) -> None:
        super().__init__()
        channels, *self._grid = context.code_shape
        self.tokens = math.prod(self._grid)
        width = context.ports.token_width
        self.in_proj = nn.Sequential(nn.Linear(channels + TIME_FEATURES + 1, width), nn.SiLU(), nn.Linear(width, width))
        self._axes = self._grid or [1]
        if len(self._axes) > 3:
            raise ValueError(f"a sequence has at most three axes, not {len(self._axes)}")
        size = NEIGHBOURS if len(self._axes) == 1 else GRID_NEIGHBOURS
        self.near = convolution(len(self._axes), width, width, size, padding=size // 2)
        self.positions = nn.Parameter(torch.randn(self.tokens, width) * POSITION_SPREAD)
        self.out_proj = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(width, context.outputs),
        )

    def embed(self, inputs: AdapterInputs) -> Streams:
        x = inputs.x
        cells = (len(x), 1, *self._grid)
        time = time_features(along(inputs.time, x).expand(cells).reshape(len(x), self.tokens)).to(self.positions)
        observed = inputs.observed.to(time).expand(cells).reshape(len(x), self.tokens, 1)
        states = x.reshape(len(x), -1, self.tokens).transpose(1, 2)
        if is_indices(x):
            cell = self._looked_up(states[..., 0], torch.cat([observed, time], 2))
        else:
            cell = self.in_proj(torch.cat([states, observed, time], 2))
        near = self.near(cell.transpose(1, 2).reshape(len(x), -1, *self._axes)).flatten(2).transpose(1, 2)
        return Streams({}, cell + near + self.positions)

    def _looked_up(self, index: Int64[Tensor, "b n"], others: Float[Tensor, "b n f"]) -> Float[Tensor, "b n w"]:
        """Return the input layers' outputs for one-hot classes, whose product is a row of the weights."""
        first, *rest = self.in_proj
        assert isinstance(first, nn.Linear)
        of_classes, of_others = first.weight.split([first.in_features - others.shape[2], others.shape[2]], 1)
        rows = nn.functional.embedding(index.clamp_min(0), of_classes.T)
        hidden = torch.where((index >= 0)[..., None], rows, 0.0) + nn.functional.linear(others, of_others, first.bias)
        for layer in rest:
            hidden = layer(hidden)
        return hidden

    def head(self, outputs: BackboneOutputs) -> Float[Tensor, "b q *s"]:
        assert outputs.tokens is not None
        logits: Tensor = self.out_proj(outputs.tokens)
        return logits.transpose(1, 2).reshape(len(logits), -1, *self._grid)


class SequenceAdapterSpec(AbstractAdapterSpec):
    """A text, or another code on a grid, with one token for each cell; the variable is no part of the baseline."""

    is_sequence: ClassVar[bool] = True

    type: Literal["sequence"] = "sequence"
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the head's last layer")

    def build(self, context: AdapterContext) -> SequenceAdapter:
        return SequenceAdapter(context, self.dropout)
