"""Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505): each number of a cell to one of a few levels.

With l_j levels of number j, h = (l - 1)(1 + 1e-3) / 2, o = 1/2 for even l, else 0, and s = artanh(o / h),

    q_j = round(h tanh(y_j + s) - o),    divided by floor(l / 2), so that it is in [-1, 1].                      (1)

Gradients pass the rounding unchanged (straight-through, Bengio et al. 2013). A cell's class is the number with the
digits q_j, counted from the lowest, in the mixed base of the levels.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

_SLACK = 1e-3


class AbstractQuantiser(nn.Module, ABC):
    """Numbers of a cell (b, j, *s) to one of a few vectors, and to its class."""

    classes: int
    """Number of vectors."""
    numbers: int
    """Number of a cell's numbers, j."""

    @abstractmethod
    def forward(self, y: Float[Tensor, "b j *s"]) -> Float[Tensor, "b j *s"]:
        """Return the vector of each cell, with the gradient of ``y``."""

    @abstractmethod
    def index(self, levels: Float[Tensor, "b j *s"]) -> Int64[Tensor, "b *s"]:
        """Return the class of each cell, given its vector."""

    @abstractmethod
    def codebook(self) -> Float[Tensor, "k j"]:
        """Return the vector of every class."""


class ScalarQuantiser(AbstractQuantiser):
    """Numbers (b, j, *s) to levels and classes. Final. It has no weights.

    Args:
        levels: number of levels of each number, at least 2.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        counts = torch.tensor(levels, dtype=torch.float32)
        steps = list(itertools.accumulate(levels[:-1], lambda step, count: step * count, initial=1))
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("steps", torch.tensor(steps), persistent=False)
        self.counts: Tensor
        self.steps: Tensor
        self.classes, self.numbers = math.prod(levels), len(levels)

    def _along(self, numbers: Tensor, like: Tensor) -> Tensor:
        return numbers.reshape(1, -1, *[1] * (like.ndim - 2))

    def forward(self, y: Float[Tensor, "b j *s"]) -> Float[Tensor, "b j *s"]:
        """Return the levels of eq. (1), with the gradient of the numbers before rounding."""
        counts = self._along(self.counts, y)
        half = (counts - 1) * (1 + _SLACK) / 2
        offset = torch.where(counts % 2 == 0, 0.5, 0.0)
        bounded = half * torch.tanh(y + torch.atanh(offset / half)) - offset
        rounded = bounded + (bounded.round() - bounded).detach()
        return rounded / torch.div(counts, 2, rounding_mode="floor")

    def index(self, levels: Float[Tensor, "b j *s"]) -> Int64[Tensor, "b *s"]:
        """Return the class of each cell."""
        half = torch.div(self._along(self.counts, levels), 2, rounding_mode="floor")
        digits = (levels * half + half).round().long()
        return (digits * self._along(self.steps, levels)).sum(1)

    def codebook(self) -> Float[Tensor, "k j"]:
        """Return the levels of every class."""
        index = torch.arange(self.classes, device=self.counts.device)[:, None]
        half = torch.div(self.counts, 2, rounding_mode="floor")
        digits = torch.div(index, self.steps, rounding_mode="floor") % self.counts.long()
        return (digits - half) / half
