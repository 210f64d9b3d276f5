"""Fit the codecs: learned codecs by gradient descent, then all in closed form on the training rows."""

from collections.abc import Callable, Iterable, Iterator

import torch
from jaxtyping import Int64
from lightning_fabric import Fabric
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.learning.loop import Optimisation, Optimiser, Step
from metavoxel.parts.codecs.base import AbstractCodec, AbstractLearnedCodec
from metavoxel.rng import Rng
from metavoxel.runs.checkpoints import Checkpoints

READ_BATCH = 8


def batches(
    cohort: Cohort, name: str, rows: Int64[Tensor, "n"], device: torch.device
) -> Callable[[], Iterable[Tensor]]:
    """Return an iterable factory over batches of the values present in these rows."""
    present = rows[cohort.columns[name].present[rows]]
    size = READ_BATCH if cohort.variables[name].lazy else len(present)

    def iterate() -> Iterator[Tensor]:
        for start in range(0, len(present), size):
            yield cohort.columns[name].read(present[start : start + size]).to(device)

    return iterate


def fit_codec(
    name: str, codec: AbstractCodec, cohort: Cohort, fabric: Fabric, *, seed: int, checkpoints: Checkpoints
) -> Iterator[Step]:
    """Fit one codec on the training rows; a learned one yields its steps, and resumes from ``checkpoints``."""
    values = batches(cohort, name, cohort.parts["train"], fabric.device)
    codec.to(fabric.device)
    if isinstance(codec, AbstractLearnedCodec) and codec.training_plan is not None:
        yield from _learn(name, codec, cohort, fabric, seed=seed, checkpoints=checkpoints)
    codec.eval()
    codec.fit(values)


def _learn(
    name: str, codec: AbstractLearnedCodec, cohort: Cohort, fabric: Fabric, *, seed: int, checkpoints: Checkpoints
) -> Iterator[Step]:
    plan = codec.training_plan
    assert plan is not None
    codec.prepare(batches(cohort, name, cohort.parts["train"], fabric.device))
    settings = Optimisation(plan.steps, plan.learning_rate, weight_decay=0.0, warm_up=50, clip=1.0, seed=seed)
    optimiser = Optimiser(fabric, codec, settings)
    optimiser.wrapped.mark_forward_method("losses")
    optimiser.load(checkpoints)
    rows = cohort.parts["train"]
    rows = rows[cohort.columns[name].present[rows]]
    column, spec = cohort.columns[name], cohort.variables[name]

    def batch(step: int) -> tuple[Rng, Int64[Tensor, "b"]]:
        rng = Rng.for_rows(plan.batch_size, seed, name, fabric.global_rank, step)
        return rng, rows[(rng.uniform((plan.batch_size,), dtype=torch.float64) * len(rows)).long()]

    def losses(step: int) -> dict[str, Tensor]:
        rng, chosen = batch(step)
        values = spec.augment(column.read(chosen), rng.fork("vary")).to(fabric.device)
        with fabric.autocast():  # Fabric casts only inside forward
            terms: dict[str, Tensor] = optimiser.wrapped.losses(values, rng=rng)
        return terms

    try:
        for step in optimiser.run(losses, lambda step: [cohort.row_keys[row] for row in batch(step)[1].tolist()]):
            yield step
            if checkpoints.due:
                optimiser.save(checkpoints)
    finally:
        # Also on interruption: the next call resumes from this state.
        if optimiser.step < plan.steps:
            optimiser.save(checkpoints)
