"""Joint training stage: optimisation on cached codes, validation, and selection of the best weights."""

import warnings
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas
import torch
from jaxtyping import Int64
from lightning_fabric import Fabric
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import RunError, RunWarning
from metavoxel.learning.batches import Batches, rows_per_step
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.loop import Optimisation, Optimiser, defer_interrupts
from metavoxel.learning.missingness_weights import missing_report, missing_weights
from metavoxel.learning.objective import loss_sums, ratio
from metavoxel.learning.time_sampling import GRID_PURE_NOISE_SHARE, PURE_NOISE_SHARE, evidence_times, shared_times
from metavoxel.learning.training_warnings import variable_problems
from metavoxel.learning.validation import HeldOutLoss, evenly
from metavoxel.network.joint import JointModel
from metavoxel.parts.features.rows import Rows
from metavoxel.runs.checkpoint import load_weights, save_weights
from metavoxel.runs.checkpoints import Checkpoints
from metavoxel.runs.metrics import MetricsWriter
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder
from metavoxel.schema import Schema

TRAINING_EXAMPLES = 250
"""Maximum number of training rows whose loss is compared with that of validation rows, and their noised examples."""

UNVALIDATED = MappingProxyType({"best_score": float("inf"), "best_step": -1.0, "validated_step": -1.0})
"""Validation record of a training that has no best weights yet."""


def train_joint(
    joint: JointModel,
    schema: Schema,
    cohort: Cohort,
    caches: Mapping[str, LatentCache],
    folder: RunFolder,
    fabric: Fabric,
    writer: MetricsWriter,
    checkpoints: Checkpoints,
) -> Generator[Progress, None, dict[str, Any]]:
    """Run the remaining steps, and save the weights of the best validation score to ``folder.best``.

    Yields progress. Returns the best validation score, its step, counts of skipped steps and loss spikes, and the
    missingness report of the training rows. An interrupted training is resumed by the next call, from the newest of the
    ``checkpoints`` that is whole. These are written at validations, at intervals of time, and on interruption.

    Raises:
        SchemaError: ``training.missing_weights`` names variables that cannot be used.
    """
    settings, shared = schema.training, schema.diffusion.shared_time
    train_rows = cohort.parts["train"]
    row_weights = missing_weights(schema, cohort, caches)
    missing = missing_report(schema, cohort, caches, row_weights)
    joint.baseline.fit(
        {name: Rows(cache.mean[:, 0], train_rows) for name, cache in caches.items()},
        {name: cache.present[train_rows] for name, cache in caches.items()},
        torch.from_numpy(pandas.factorize(np.array(cohort.subjects)[train_rows])[0]),
        {name: cache.uncertainty(train_rows) for name, cache in caches.items()},
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
    best = {**UNVALIDATED, **(optimiser.load(checkpoints) or {})}
    if best["best_step"] >= 0 and not _is_whole(folder.best):
        best = dict(UNVALIDATED)
    grid_rows, token_rows = rows_per_step(joint, settings, default, shared, fabric.world_size)
    per_device = grid_rows + token_rows
    pure_noise: float | Tensor = PURE_NOISE_SHARE
    if token_rows:
        pure_noise = torch.tensor([GRID_PURE_NOISE_SHARE] * grid_rows + [PURE_NOISE_SHARE] * token_rows)
    questions = torch.tensor([[name in given for name in joint.kernels] for given in settings.questions])
    weights = {name: variable.spec.weight for name, variable in schema.variables.items()}
    times_of = partial(
        evidence_times,
        power=settings.time_power or default.time_power,
        questions=questions if settings.questions else None,
        question_share=settings.question_share,
        names=list(joint.kernels),
        even=torch.tensor([kernel.even_steps for kernel in joint.kernels.values()]),
    )
    training_times = (
        shared_times if shared else partial(times_of, pure_noise=pure_noise, draw_share=settings.draw_share)
    )
    batches = Batches(
        joint,
        caches,
        train_rows,
        training_times,
        places=_places(grid_rows, token_rows, fabric),
        total=per_device * fabric.world_size,
        seed=settings.seed,
        device=fabric.device,
        partial=not shared,
    )

    def losses(step: int) -> dict[str, Tensor]:
        rows, corrupted = batches(step)
        predictions = optimiser.wrapped(
            corrupted.states, corrupted.times, corrupted.observed, grid_rows=grid_rows if token_rows else None
        )
        loss_weights = None if row_weights is None else row_weights.of(rows, corrupted.times)
        terms = {}
        for name, (total, count) in loss_sums(joint, predictions, corrupted, loss_weights).items():
            # Gradients are averaged over devices: dividing by the mean count gives the ratio of sums over all devices.
            shared_count = fabric.all_reduce(count.float(), reduce_op="mean") if fabric.world_size > 1 else count
            terms[name] = weights[name] * ratio(total, torch.as_tensor(shared_count))
        return terms

    smoothed: dict[str, float] = {}
    validation_times = shared_times if shared else partial(times_of, draw_share=settings.draw_share)
    held_out = HeldOutLoss(joint, caches, cohort.parts["validation"], validation_times, settings.seed)
    trained_on = HeldOutLoss(
        joint,
        caches,
        evenly(train_rows, min(len(cohort.parts["validation"]), TRAINING_EXAMPLES)),
        validation_times,
        settings.seed,
        TRAINING_EXAMPLES,
    )
    noticed: set[str] = set()

    def validate(step: int) -> dict[str, float]:
        """Evaluate the averaged weights, save them if they are the best so far, and write a checkpoint."""
        with optimiser.averaged():
            found, on_training = held_out.evaluate(), trained_on.network_losses()
        # Variables are weighted as in the training loss, else those of small weight dominate the selection.
        total = sum(weights[name] for name in found)
        score = sum(weights[name] * one.bound for name, one in found.items()) / total if total else 0.0
        of_variables = {
            name: {**one._asdict(), **({"training": on_training[name]} if name in on_training else {})}
            for name, one in found.items()
        }
        if fabric.is_global_zero and steps // 2 <= step < steps:  # early losses are high, the last are in the summary
            for problem in variable_problems(of_variables):
                if problem.where not in noticed:
                    warnings.warn(f"validation at step {step}: {problem}", RunWarning, stacklevel=2)
                noticed.add(problem.where)
        numbers = {**best, "validated_step": step}
        with defer_interrupts():
            if score < best["best_score"]:
                numbers |= {"best_score": score, "best_step": step}
                numbers |= {
                    f"{field}/{name}": value for name in of_variables for field, value in of_variables[name].items()
                }
                if fabric.is_global_zero:
                    chosen = {"network_weights": held_out.network_weights(found)}
                    save_weights(folder.best, {**joint.state_dict(), **optimiser.average, **chosen}, numbers)
            named = {f"validation/{name}": one.loss for name, one in found.items()}
            named |= {f"network/{name}": one.network for name, one in found.items()}
            named |= {f"network_training/{name}": loss for name, loss in on_training.items()}
            counts = {"skipped": optimiser.guard.skipped, "spikes": optimiser.guard.spikes}
            writer.write("joint", step, {**smoothed, **named, "score/validation": score, **counts})
            optimiser.save(checkpoints, numbers)
        return numbers

    try:
        if _is_due(optimiser.step, settings.validate_every, steps, best) or best["best_step"] < 0:
            # At step 0 the Gaussian baseline is evaluated; at other steps an interrupted validation is repeated.
            best = validate(optimiser.step)
        for step in optimiser.run(losses, lambda step: [cohort.row_keys[row] for row in batches(step).rows.tolist()]):
            for name, value in step.losses.items():
                smoothed[name] = smoothed.get(name, value) * 0.98 + value * 0.02
            if _is_due(step.number, settings.validate_every, steps, best):
                best = validate(step.number)
            elif checkpoints.due:
                optimiser.save(checkpoints, best)
            yield Progress("joint", step.number, steps, smoothed)
    finally:
        # Also on interruption: the next call resumes from this state.
        if best["validated_step"] < steps:
            optimiser.save(checkpoints, best)
    validation: dict[str, dict[str, float]] = {}
    for key, value in best.items():
        field, _, name = key.partition("/")
        if name:
            validation.setdefault(name, {})[field] = value
    return {
        "best_score": best["best_score"],
        "best_step": best["best_step"],
        "skipped_steps": optimiser.guard.skipped,
        "loss_spikes": optimiser.guard.spikes,
        "missing": missing,
        "validation": validation,
    }


def _is_whole(path: Path) -> bool:
    """Whether the best weights can be read; if not, warn that those of now are used."""
    try:
        load_weights(path)
    except RunError as error:
        warnings.warn(f"{error}; the best weights are chosen from now on", RunWarning, stacklevel=2)
        return False
    return True


def _orthogonal(joint: JointModel) -> frozenset[str]:
    """Name the matrices of the backbone; those of adapters are input and output layers, whose columns are data."""
    weights = joint.backbone.named_parameters(prefix="backbone")
    return frozenset(name for name, weight in weights if weight.ndim == 2)


def _places(grid_rows: int, token_rows: int, fabric: Fabric) -> Int64[Tensor, "b"]:
    """Rows of this process in the batch of all: first all that pass through the whole network, then the others."""
    rank, others = fabric.global_rank, fabric.world_size * grid_rows
    return torch.cat([
        torch.arange(rank * grid_rows, (rank + 1) * grid_rows),
        others + torch.arange(rank * token_rows, (rank + 1) * token_rows),
    ])  # fmt: skip


def _is_due(step: int, every: int, last: int, best: Mapping[str, float]) -> bool:
    """Return whether validation is due at a step and has not been done."""
    return (step % every == 0 or step == last) and best["validated_step"] < step
