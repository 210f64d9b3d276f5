"""The joint stage of training: batches of cached codes, validation, and the best weights."""

from collections.abc import Generator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas
import torch
from lightning_fabric import Fabric
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.learning.batches import Batches
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.loop import Optimisation, Optimiser, defer_interrupts
from metavoxel.learning.missingness_weights import missing_report, missing_weights
from metavoxel.learning.objective import loss_sums, ratio
from metavoxel.learning.time_sampling import GRID_READ_OUT_SHARE, READ_OUT_SHARE, evidence_times, shared_times
from metavoxel.learning.validation import HeldOut
from metavoxel.network.joint import JointModel, module_name
from metavoxel.parts.backbones.base import TrainingPlan
from metavoxel.runs.checkpoint import save_weights
from metavoxel.runs.metrics import MetricsWriter
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder
from metavoxel.schema import Schema
from metavoxel.schema.settings import TrainingSettings

CELLS_A_STEP, FEWEST_ROWS = 2560, 8
"""Of a wide table, cells that a step sees by default, and rows: its cost is theirs."""


def train_joint(
    joint: JointModel,
    schema: Schema,
    cohort: Cohort,
    banks: Mapping[str, LatentCache],
    folder: RunFolder,
    fabric: Fabric,
    writer: MetricsWriter,
) -> Generator[Progress, None, dict[str, Any]]:
    """Take the steps that remain; the weights of the best validation are in ``folder.best`` afterwards.

    Yields progress, and returns the best validation score, its step, and how the training rows miss cells. Stopped
    early, the next call goes on from there.

    Raises:
        SchemaError: ``training.missing_weights`` names variables that cannot be used.
    """
    settings, shared = schema.training, schema.diffusion.times == "shared"
    train_rows = cohort.parts["train"]
    row_weights = missing_weights(schema, cohort, banks)
    missing = missing_report(schema, cohort, banks, row_weights)
    joint.fit(
        {name: bank.mean[train_rows, 0] for name, bank in banks.items()},
        {name: bank.present[train_rows] for name, bank in banks.items()},
        torch.from_numpy(pandas.factorize(np.array(cohort.subjects)[train_rows])[0]),
        {name: bank.uncertainty(train_rows) for name, bank in banks.items()},
    )
    default = schema.backbone.default_plan()
    steps = settings.steps or default.steps
    plan = Optimisation(
        steps,
        settings.learning_rate or default.learning_rate,
        settings.weight_decay,
        settings.warm_up,
        settings.clip,
        settings.ema,
        settings.seed,
        _orthogonal(joint) if settings.optimiser == "muon" else (),
    )
    optimiser = Optimiser(fabric, joint, plan)
    best: dict[str, float] = {"best_score": float("inf"), "best_step": 0, "validated_step": -1}
    if folder.state.exists():
        best |= optimiser.load(folder.state)
    grid_rows, token_rows = _rows_a_step(joint, settings, default, shared, fabric.world_size)
    per_device = grid_rows + token_rows
    read_out: float | Tensor = READ_OUT_SHARE
    if token_rows:
        read_out = torch.tensor([GRID_READ_OUT_SHARE] * grid_rows + [READ_OUT_SHARE] * token_rows)
    questions = torch.tensor([[name in given for name in joint.kernels] for given in settings.questions])
    weights = {name: variable.spec.weight for name, variable in schema.variables.items()}
    times_of = partial(
        evidence_times,
        power=settings.time_power or default.time_power,
        questions=questions if settings.questions else None,
        question_share=settings.question_share,
        names=list(joint.kernels),
    )
    training_times = shared_times if shared else partial(times_of, read_out=read_out, draw_share=settings.draw_share)
    batches = Batches(
        joint,
        banks,
        train_rows,
        training_times,
        size=per_device,
        seed=settings.seed,
        rank=fabric.global_rank,
        processes=fabric.world_size,
        device=fabric.device,
        partial=not shared,
    )

    def losses(step: int) -> dict[str, Tensor]:
        rows, corrupted = batches(step)
        predictions = optimiser.wrapped(
            corrupted.states, corrupted.times, corrupted.observed, grid_rows=grid_rows if token_rows else None
        )
        asked = None if row_weights is None else row_weights.of(rows, corrupted.times)
        terms = {}
        for name, (total, count) in loss_sums(joint, predictions, corrupted, asked).items():
            # Gradients are averaged over devices: dividing by the mean count makes that the ratio of sums.
            shared_count = fabric.all_reduce(count.float(), reduce_op="mean") if fabric.world_size > 1 else count
            terms[name] = weights[name] * ratio(total, torch.as_tensor(shared_count))
        return terms

    running: dict[str, float] = {}

    held_out = HeldOut(
        joint,
        banks,
        cohort.parts["validation"],
        shared_times if shared else partial(times_of, draw_share=settings.draw_share),
        settings.seed,
    )

    def validated(step: int) -> dict[str, float]:
        """Judge the averaged weights, keep them if they are the best so far, and leave a checkpoint."""
        with optimiser.averaged():
            judged = held_out.judge()
        # What counts less in training counts less here: else variables of little weight choose the step for all.
        total = sum(weights[name] for name in judged)
        score = sum(weights[name] * found.bound for name, found in judged.items()) / total if total else 0.0
        found = {**best, "validated_step": step}
        with defer_interrupts():
            if score < best["best_score"]:
                found |= {"best_score": score, "best_step": step}
                found |= {
                    f"{figure}/{name}": value for name, one in judged.items() for figure, value in one._asdict().items()
                }
                if fabric.is_global_zero:
                    chosen = {
                        f"adapters.{module_name(name)}.network_weight": torch.tensor(weight)
                        for name, weight in held_out.network_weights(judged).items()
                    }
                    save_weights(folder.best, {**joint.state_dict(), **optimiser.average, **chosen}, found)
            named = {f"validation/{name}": one.loss for name, one in judged.items()}
            writer.write("joint", step, {**running, **named, "score/validation": score})
            optimiser.save(folder.state, found)
        return found

    try:
        if _is_due(optimiser.step, settings.validate_every, steps, best):
            # Before any training, what a linear model says; later, the program was stopped before it came to this.
            best = validated(optimiser.step)
        for step in optimiser.run(losses):
            for name, value in step.losses.items():
                running[name] = running.get(name, value) * 0.98 + value * 0.02
            if _is_due(step.number, settings.validate_every, steps, best):
                best = validated(step.number)
            yield Progress("joint", step.number, steps, running)
    finally:
        # Also when the user stops the program: the next run continues here.
        if best["validated_step"] < steps:
            optimiser.save(folder.state, best)
    validation: dict[str, dict[str, float]] = {}
    for key, value in best.items():
        figure, _, name = key.partition("/")
        if name:
            validation.setdefault(name, {})[figure] = value
    return {
        "best_score": best["best_score"],
        "best_step": best["best_step"],
        "missing": missing,
        "validation": validation,
    }


def _orthogonal(joint: JointModel) -> frozenset[str]:
    """The matrices between a backbone's own layers; adapters' layers begin or end at data, where each column counts."""
    weights = joint.backbone.named_parameters(prefix="backbone")
    return frozenset(name for name, weight in weights if weight.ndim == 2)


def _rows_a_step(
    joint: JointModel, settings: TrainingSettings, plan: TrainingPlan, shared: bool, devices: int
) -> tuple[int, int]:
    """Rows of one device that pass through the whole network, and further ones that are tokens alone."""
    has_grids = any(len(shape) > 1 for shape in joint.code_shapes.values())
    usual = plan.batch_size if has_grids else min(plan.batch_size, max(FEWEST_ROWS, CELLS_A_STEP // len(joint.kernels)))
    rows = max(1, (settings.batch_size or usual) // devices)
    everyone_is_seen = all(joint.adapter(name).tokens for name in joint.kernels)
    if shared or not has_grids or not everyone_is_seen or not joint.names_without_grids:
        return rows, 0
    further = plan.token_rows if settings.token_rows is None else settings.token_rows
    return rows, further // devices


def _is_due(step: int, every: int, last: int, best: Mapping[str, float]) -> bool:
    """Whether a step is one to validate at, and has not been."""
    return (step % every == 0 or step == last) and best["validated_step"] < step
