"""Training batches: the rows of each step, their diffusion times and their noise."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import Corrupted, corrupt
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.network.joint import JointModel
from metavoxel.parts.backbones.base import TrainingPlan
from metavoxel.rng import Rng, stream_key
from metavoxel.schema.settings import TrainingSettings

STEPS_PER_BLOCK = 16
"""Number of steps whose batches are made in one call, to amortise overhead, if no variable has a grid."""


CELLS_PER_STEP, MIN_ROWS = 2560, 8
"""Default number of tokens per step, which bounds the cost of wide tables and long texts, and minimum of rows."""


class Batch(NamedTuple):
    """Row indices into the cohort, and the corresponding noised inputs of the network."""

    rows: Int64[Tensor, "b"]
    corrupted: Corrupted


class Batches:
    """Training batches of one process, a function of the seed and the step alone. Final.

    Of several processes each has a part of the batch that one process would have, with the same noise. So the number
    of processes changes the gradients by rounding only.

    Args:
        joint: model whose kernels add the noise.
        caches: latent cache of each variable.
        rows: training rows.
        times: sampler of diffusion times and conditioning masks, given which variables are present.
        places: rows of this process in the batch of all processes.
        total: rows per step, over all processes.
        seed: random seed of rows, times and noise.
        device: device of the network.
        partial: whether images may be observed in part.
    """

    def __init__(
        self,
        joint: JointModel,
        caches: Mapping[str, LatentCache],
        rows: Int64[Tensor, "n"],
        times: Callable[[Bool[Tensor, "b v"], Rng], RowTimes],
        *,
        places: Int64[Tensor, "b"],
        total: int,
        seed: int,
        device: torch.device,
        partial: bool,
    ) -> None:
        self._joint, self._caches, self._rows, self._times = joint, caches, rows, times
        self._places, self._total, self._size, self._seed = places, total, len(places), seed
        self._device, self._partial = device, partial
        self._present = torch.stack([caches[name].present for name in joint.kernels], 1)
        has_grids = any(len(shape) > 1 for shape in joint.code_shapes.values())
        self._block_size = 1 if has_grids else STEPS_PER_BLOCK
        self._block: tuple[int, Batch] | None = None

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        index, offset = divmod(step, self._block_size)
        if self._block is None or self._block[0] != index:
            self._block = index, self._sample(range(index * self._block_size, (index + 1) * self._block_size))
        window, (rows, corrupted) = slice(offset * self._size, (offset + 1) * self._size), self._block[1]
        return Batch(
            rows[window],
            Corrupted(*({name: tensor[window] for name, tensor in field.items()} for field in corrupted)),
        )

    def _sample(self, steps: range) -> Batch:
        """Sample the batches of several steps, concatenated in order."""
        streams = [Rng.for_rows(self._total, self._seed, "joint", 0, step)[self._places] for step in steps]
        rng = Rng(torch.cat([stream.keys for stream in streams]))
        rows = torch.cat([
            shuffled(self._rows, step * self._total, self._total, self._seed)[self._places] for step in steps
        ])  # fmt: skip
        times = self._times(self._present[rows], rng.fork("times"))
        return Batch(
            rows,
            corrupt(self._joint, self._caches, rows, times, rng, device=self._device, partial=self._partial),
        )


def rows_per_step(
    joint: JointModel, settings: TrainingSettings, plan: TrainingPlan, shared: bool, devices: int
) -> tuple[int, int]:
    """Return the rows per device that pass through the whole network, and those that use tokens only."""
    has_grids = joint.has_grids
    most = plan.batch_size if has_grids else max(MIN_ROWS, CELLS_PER_STEP // joint.tokens)
    rows = max(1, (settings.batch_size or min(plan.batch_size, most)) // devices)
    all_have_tokens = all(joint.adapter(name).tokens for name in joint.kernels)
    if shared or not has_grids or not all_have_tokens or not joint.names_without_grids:
        return rows, 0
    token_rows = plan.token_rows if settings.token_rows is None else settings.token_rows
    return rows, token_rows // devices


def shuffled(rows: Int64[Tensor, "n"], first: int, count: int, seed: int) -> Int64[Tensor, "b"]:
    """Return ``count`` rows from position ``first`` of an endless sequence of epochs, each a random permutation."""
    chosen, position = [], first
    while position < first + count:
        epoch, index = divmod(position, len(rows))
        generator = torch.Generator().manual_seed(abs(stream_key(seed, "epoch", epoch)) % 2**63)
        order = torch.randperm(len(rows), generator=generator)
        chosen.append(rows[order[index : index + first + count - position]])
        position += len(chosen[-1])
    return torch.cat(chosen)
