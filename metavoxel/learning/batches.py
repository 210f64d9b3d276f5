"""Training batches: which rows a step sees, at which times, under which noise."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import Corrupted, corrupt
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.network.joint import JointModel
from metavoxel.rng import Rng, stream_key

STEPS_AT_ONCE = 16
"""Of rows without images: small calls cost more than their arithmetic, and each row's noise is its own anyway."""


class Batch(NamedTuple):
    """Rows of the cohort, and what the network sees of them."""

    rows: Int64[Tensor, "b"]
    corrupted: Corrupted


class Batches:
    """The batch of every step of one process, a function of the seed and the step's number alone. Final.

    Args:
        joint: whose kernels make the noise.
        banks: codes of the cohort.
        rows: of the cohort, to train on.
        times: of rows with these variables present.
        size: rows a step of this process.
        seed: of rows, times and noise.
        rank: number of this process.
        processes: how many there are.
        device: where the network is.
        partial: whether images may be given in part.
    """

    def __init__(
        self,
        joint: JointModel,
        banks: Mapping[str, LatentCache],
        rows: Int64[Tensor, "n"],
        times: Callable[[Bool[Tensor, "b v"], Rng], RowTimes],
        *,
        size: int,
        seed: int,
        rank: int,
        processes: int,
        device: torch.device,
        partial: bool,
    ) -> None:
        self._joint, self._banks, self._rows, self._times = joint, banks, rows, times
        self._size, self._seed, self._rank, self._processes = size, seed, rank, processes
        self._device, self._partial = device, partial
        self._present = torch.stack([banks[name].present for name in joint.kernels], 1)
        self._at_once = 1 if any(len(shape) > 1 for shape in joint.code_shapes.values()) else STEPS_AT_ONCE
        self._made: tuple[int, Batch] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of a step counted from 0."""
        number, place = divmod(step, self._at_once)
        if self._made is None or self._made[0] != number:
            self._made = number, self._make(range(number * self._at_once, (number + 1) * self._at_once))
        here, (rows, corrupted) = slice(place * self._size, (place + 1) * self._size), self._made[1]
        return Batch(
            rows[here], Corrupted(*({name: part[here] for name, part in parts.items()} for parts in corrupted))
        )

    def _make(self, steps: range) -> Batch:
        """The batches of several steps, one after another."""
        streams = [Rng.for_rows(self._size, self._seed, "joint", self._rank, step) for step in steps]
        rng = Rng(torch.cat([stream.keys for stream in streams]))
        rows = torch.cat([
            shuffled(self._rows, (step * self._processes + self._rank) * self._size, self._size, self._seed)
            for step in steps
        ])  # fmt: skip
        times = self._times(self._present[rows], rng.fork("times"))
        return Batch(
            rows,
            corrupt(self._joint, self._banks, rows, times, rng, device=self._device, partial=self._partial),
        )


def shuffled(rows: Int64[Tensor, "n"], first: int, count: int, seed: int) -> Int64[Tensor, "b"]:
    """``count`` rows from place ``first`` on in an endless walk that shuffles the rows anew each time round."""
    chosen, place = [], first
    while place < first + count:
        epoch, index = divmod(place, len(rows))
        generator = torch.Generator().manual_seed(abs(stream_key(seed, "epoch", epoch)) % 2**63)
        order = torch.randperm(len(rows), generator=generator)
        chosen.append(rows[order[index : index + first + count - place]])
        place += len(chosen[-1])
    return torch.cat(chosen)
