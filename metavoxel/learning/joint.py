"""The joint stage of training: batches of cached codes, validation, and the best weights."""

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas
import torch
from jaxtyping import Bool
from lightning_fabric import Fabric
from torch import Tensor

from metavoxel.backbones.base import TrainingPlan
from metavoxel.cohort.cohort import Cohort
from metavoxel.joint import JointModel, module_name
from metavoxel.learning.batches import Batches
from metavoxel.learning.checkpoint import save_weights
from metavoxel.learning.codes import CodeBank
from metavoxel.learning.loop import Optimisation, Optimiser, whole
from metavoxel.learning.metrics import MetricsWriter
from metavoxel.learning.objective import loss_sums, ratio
from metavoxel.learning.progress import Progress
from metavoxel.learning.run import RunFolder
from metavoxel.learning.times import GRID_READ_OUT_SHARE, READ_OUT_SHARE, RowTimes, evidence_times, shared_times
from metavoxel.learning.validate import Errors, drawing_losses, relative_errors
from metavoxel.learning.weights import missing_report, missing_weights
from metavoxel.rng import Rng
from metavoxel.schema import Schema
from metavoxel.schema.settings import TrainingSettings


def train_joint(
    joint: JointModel,
    schema: Schema,
    cohort: Cohort,
    banks: Mapping[str, CodeBank],
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
    judged = Judged(settings.draw_share, partial(times_of, draw_share=1.0), shared, settings.seed)
    batches = Batches(
        joint,
        banks,
        train_rows,
        shared_times if shared else partial(times_of, read_out=read_out, draw_share=settings.draw_share),
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

    def validated(step: int) -> dict[str, float]:
        """Judge the averaged weights, keep them if they are the best so far, and leave a checkpoint."""
        errors, trust = _validate(joint, optimiser, banks, cohort, judged)
        # What counts less in training counts less here: else variables of little weight choose the step for all.
        total = sum(weights[name] for name in errors)
        score = sum(weights[name] * error for name, error in errors.items()) / total if total else 0.0
        found = {**best, "validated_step": step}
        with whole():
            if score < best["best_score"]:
                found |= {"best_score": score, "best_step": step}
                if fabric.is_global_zero:
                    save_weights(folder.best, {**joint.state_dict(), **optimiser.average, **trust}, found)
            named = {f"validation/{name}": value for name, value in errors.items()}
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
    return {**{name: best[name] for name in ("best_score", "best_step")}, "missing": missing}


def _orthogonal(joint: JointModel) -> frozenset[str]:
    """The matrices between a backbone's own layers; adapters' layers begin or end at data, where each column counts."""
    weights = joint.backbone.named_parameters(prefix="backbone")
    return frozenset(name for name, weight in weights if weight.ndim == 2)


def _rows_a_step(
    joint: JointModel, settings: TrainingSettings, plan: TrainingPlan, shared: bool, devices: int
) -> tuple[int, int]:
    """Rows of one device that pass through the whole network, and further ones that are tokens alone."""
    rows = max(1, (settings.batch_size or plan.batch_size) // devices)
    everyone_is_seen = all(joint.adapter(name).tokens for name in joint.kernels)
    has_grids = any(len(shape) > 1 for shape in joint.code_shapes.values())
    if shared or not has_grids or not everyone_is_seen or not joint.names_without_grids:
        return rows, 0
    further = plan.token_rows if settings.token_rows is None else settings.token_rows
    return rows, further // devices


def _is_due(step: int, every: int, last: int, best: Mapping[str, float]) -> bool:
    """Whether a step is one to validate at, and has not been."""
    return (step % every == 0 or step == last) and best["validated_step"] < step


class Judged(NamedTuple):
    """What validation measures: answers, and as far as rows teach to draw and nothing else, what those teach."""

    draw_share: float
    draw_times: Callable[[Bool[Tensor, "b v"], Rng], RowTimes]
    shared: bool
    seed: int


@torch.no_grad()
def _validate(
    joint: JointModel, optimiser: Optimiser, banks: Mapping[str, CodeBank], cohort: Cohort, judged: Judged
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Errors of the averaged weights, at the trust in the network that suits each variable; these trusts by key.

    An image is hardly to be predicted from scalars, but to be drawn: its error is that of both. What the network knows
    of a scalar may be all in its denoising too, the two humps of a number that goes with nothing, so that trust is
    chosen by both.
    """
    adapters = {name: joint.adapter(name) for name in joint.kernels}
    trusts = (0.0, 0.5, 1.0) if any(adapter.features for adapter in adapters.values()) else (1.0,)
    found: list[dict[str, Errors]] = []
    parts, share = cohort.parts, judged.draw_share
    with optimiser.averaged():
        for trust in trusts:
            for adapter in adapters.values():
                adapter.trust.fill_(trust)
            errors = relative_errors(
                joint, banks, parts["validation"], parts["train"], shared=judged.shared, seed=judged.seed
            )
            if share:
                losses = drawing_losses(joint, banks, parts["validation"], judged.draw_times, judged.seed)
                errors = {name: error.mixed(losses[name], share) for name, error in errors.items()}
            found.append(errors)
    drawn = {name: len(shape) > 1 for name, shape in joint.code_shapes.items()}
    scores = {name: [errors[name].both if drawn[name] else errors[name].asked for errors in found] for name in found[0]}
    if len(trusts) == 1:
        return {name: score for name, (score,) in scores.items()}, {}
    chosen = {name: Parabola.through(*(errors[name].both for errors in found)).least for name in found[0]}
    return (
        {name: Parabola.through(*scores[name]).at(trust) for name, trust in chosen.items()},
        {
            f"adapters.{module_name(name)}.trust": torch.full_like(adapters[name].trust, trust)
            for name, trust in chosen.items()
        },
    )


class Parabola(NamedTuple):
    """What a squared error is of the share of a correction that is made, and a cross-entropy nearly."""

    start: float
    slope: float
    bend: float

    @classmethod
    def through(cls, none: float, half: float, whole: float) -> "Parabola":
        """The one with these values at 0, 1/2 and 1."""
        return cls(none, 4 * half - 3 * none - whole, 2 * (none - 2 * half + whole))

    def at(self, share: float) -> float:
        """Its value."""
        return self.start + self.slope * share + self.bend * share**2

    @property
    def least(self) -> float:
        """Where in [0, 1] it is least."""
        if self.bend > 0:
            return min(max(-self.slope / (2 * self.bend), 0.0), 1.0)
        return 1.0 if self.at(1) <= self.start else 0.0
