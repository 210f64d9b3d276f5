"""A conditional distribution of a batch of rows, p(unknown | evidence), and the joint denoiser that defines it."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import ConditionState, Evidence
from metavoxel.typing import AnyCode, AnyMask, AnyTime

CELLS_PER_BATCH = 2**21
"""Maximum number of code cells in a batch, which bounds memory on any grid."""
MOST_ROWS = 4096
"""Maximum number of rows in a batch."""

Denoiser = Callable[[Mapping[str, AnyCode], Mapping[str, AnyTime], Mapping[str, AnyMask]], Mapping[str, AnyCode]]
"""(states, times, observed) to E[x_0 | states] of every variable: a joint model's ``denoise``, or an exact one."""


class Conditional(NamedTuple):
    """Evidence and random streams of a batch of rows.

    Attributes:
        kernels: of every variable.
        shapes: code shapes of every variable.
        given: evidence; variables not named are unknown in every cell.
        marginal: unknown variables that are integrated out: they stay at t = 1.
        like: any tensor on the device and in the precision to compute in.
        rng: streams of the rows.
    """

    kernels: Mapping[str, AbstractKernel]
    shapes: Mapping[str, tuple[int, ...]]
    given: Mapping[str, Evidence]
    marginal: Collection[str]
    like: Tensor
    rng: Rng

    def condition_states(self) -> dict[str, ConditionState]:
        """Return the evidence as a state of each variable's kernel."""
        return {name: entry.condition_state(self.kernels[name]) for name, entry in self.given.items()}

    def streams(self) -> dict[str, Rng]:
        """Return the random streams of every variable, forked by its name."""
        return {name: self.rng.fork(name) for name in self.kernels}

    def prior(self, rngs: Mapping[str, Rng]) -> dict[str, AnyCode]:
        """Draw states at t = 1."""
        return {
            name: kernel.prior((len(self.rng), *self.shapes[name]), rng=rngs[name], like=self.like)
            for name, kernel in self.kernels.items()
        }

    def with_exact_evidence(self, states: Mapping[str, AnyCode]) -> dict[str, AnyCode]:
        """Return states at t = 0 with exactly known cells set to their evidence."""
        answer = dict(states)
        for name, condition in self.condition_states().items():
            if condition.exact:
                answer[name] = torch.where(condition.known, condition.value, answer[name])
        return answer


class JointDenoiser(Protocol):
    """The part of a joint model that sampling uses: :class:`metavoxel.network.joint.JointModel`, or any other."""

    @property
    def kernels(self) -> Mapping[str, AbstractKernel]:
        """Kernels of all variables."""

    @property
    def code_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Code shape of every variable, without the batch axis."""

    @property
    def device(self) -> torch.device:
        """Device of the states."""

    def denoise(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> Mapping[str, AnyCode]:
        """Return E[x_0 | states] of every variable.

        Args:
            states: of every variable, (b, c, *s) in single precision, or class indices (b, 1, *s) in int64.
            times: of every variable, (b,), or (b, 1, *s) where cells differ, in double precision on the CPU; 0 is the
                data and 1 the prior.
            observed: whether a cell is given clean, (b, 1, *s). Its time is then 0, too.

        Returns:
            of every variable (b, c, *s): class probabilities of a category.
        """


def rows_per_batch(model: JointDenoiser) -> int:
    """Return the maximum number of rows in one call of the network."""
    cells = sum(math.prod(shape) for shape in model.code_shapes.values())
    return max(1, min(MOST_ROWS, CELLS_PER_BATCH // cells))


def batches(
    model: JointDenoiser,
    given: Mapping[str, Evidence],
    rng: Rng,
    *,
    marginal: Collection[str] = (),
    rows_per_row: int = 1,
) -> Iterator[tuple[slice, Conditional]]:
    """Yield batches of rows that fit in memory, each with its evidence.

    Args:
        model: its kernels, code shapes and device.
        given: evidence of all rows.
        rng: streams of all rows.
        marginal: unknown variables that are integrated out.
        rows_per_row: rows of the network for each of these rows.
    """
    like, size = torch.zeros((), device=model.device), max(1, rows_per_batch(model) // rows_per_row)
    for start in range(0, len(rng), size):
        rows = slice(start, min(start + size, len(rng)))
        part = {name: entry.of_rows(rows) for name, entry in given.items()}
        yield rows, Conditional(model.kernels, model.code_shapes, part, marginal, like, rng[rows])


def joined(parts: Mapping[str, list[AnyCode]], model: JointDenoiser) -> dict[str, AnyCode]:
    """Concatenate the codes of any number of batches."""
    empty = {name: torch.zeros(0, *model.code_shapes[name], device=model.device) for name in parts}
    return {name: torch.cat(codes or [empty[name]]) for name, codes in parts.items()}
