"""Discriminative networks, one per target, trained by the optimisation loop of joint models."""

import shutil
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import ClassVar, final

import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import update_bn

from metavoxel.errors import NumericalError, Problem
from metavoxel.evaluation.comparisons.architectures import AbstractArchitecture
from metavoxel.evaluation.comparisons.base import AbstractComparison, Done, Job
from metavoxel.evaluation.comparisons.predictor import Predictor, Task, parameters
from metavoxel.evaluation.comparisons.stopwatch import Stopwatch
from metavoxel.evaluation.comparisons.study import Study
from metavoxel.learning.batches import shuffled
from metavoxel.learning.devices import start_fabric
from metavoxel.learning.loop import Optimisation, Optimiser, defer_interrupts
from metavoxel.learning.precision import flushed_denormals
from metavoxel.rng import Rng
from metavoxel.runs.checkpoint import load_module, save_weights
from metavoxel.runs.checkpoints import Checkpoints
from metavoxel.runs.metrics import MetricsWriter
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder
from metavoxel.schema import Schema

BATCH = 8
EPOCHS, MIN_STEPS, MAX_STEPS = 60, 400, 20_000
"""Default training length of a network: number of epochs, and bounds of the number of steps."""
VALIDATIONS = 40
"""Maximum number of validations during the training of a network."""
STATISTICS_ROWS = 64
"""Number of training rows from which batch-normalisation statistics of averaged weights are computed."""


@final
class NetworkComparison(AbstractComparison):
    """Networks of one architecture, one for each target.

    Args:
        architecture: architecture of the networks.
        categories: whether categories are also predicted.
    """

    relevant_settings: ClassVar[tuple[str, ...]] = ("size", "steps")

    def __init__(self, architecture: AbstractArchitecture, *, categories: bool = True) -> None:
        self._architecture, self._categories = architecture, categories

    @property
    def summary(self) -> str:
        return self._architecture.title

    def unsuitable(self, schema: Schema) -> str | None:
        return None if any(spec.spatial for spec in schema.specs.values()) else "needs an image"

    def jobs(self, study: Study, folder: Path, watch: Stopwatch) -> Iterator[Job]:
        for target in study.targets:
            if self._categories or not study.model.codecs[target].is_label:
                yield Job(target, self._predict(study, folder, watch, target))

    def _predict(self, study: Study, folder: Path, watch: Stopwatch, target: str) -> Generator[Progress, None, Done]:
        network_folder = RunFolder(folder / "networks" / target)
        stage = f"{folder.name} {target}"
        # On CPUs, bf16 convolutions of odd grids and few channels have NaN gradients (PyTorch 2.13).
        half = torch.cuda.is_available()
        fabric = start_fabric(study.settings.accelerator, 1, study.settings.precision, half=half)
        torch.manual_seed(study.model.schema.training.seed)
        task = Task(study, target)
        network = task.network(self._architecture)
        if not network_folder.weights.exists():
            network_folder.path.mkdir(parents=True, exist_ok=True)
            training = _Training(study, task, network, self._architecture.learning_rate, network_folder, fabric)
            with watch.running(target), flushed_denormals():
                yield from training.run(stage)
        load_module(network, network_folder.weights)
        network.to(fabric.device).eval()
        start = time.perf_counter()
        code = task.expected(_outputs(network, task, study.rows("test"), fabric))
        seconds = (time.perf_counter() - start) / len(code)
        study.write(folder, target, code)
        shutil.rmtree(network_folder.checkpoints, ignore_errors=True)
        return Done({target: task.given}, 1, parameters(network), seconds)


@final
class _Training:
    """Training of a network, which writes the weights of the least validation loss to ``folder``."""

    def __init__(
        self, study: Study, task: Task, network: Predictor, rate: float, folder: RunFolder, fabric: Fabric
    ) -> None:
        settings = study.model.schema.training
        self._task, self._network, self._fabric, self._seed = task, network, fabric, settings.seed
        self._folder = folder
        self._rows, self._validation = study.known("train", task.target), study.known("validation", task.target)
        if len(self._rows) < 2:
            what = f"a network requires at least two training rows with a value; there are {len(self._rows)}"
            raise NumericalError(Problem(task.target, what))
        self._batch = min(BATCH, len(self._rows))
        default = max(MIN_STEPS, min(MAX_STEPS, EPOCHS * len(self._rows) // self._batch))
        steps = study.settings.steps or default
        self._every = max(1, steps // VALIDATIONS)
        plan = Optimisation(
            steps, rate, settings.weight_decay, min(settings.warm_up, steps // 10), settings.clip, settings.ema,
            settings.seed,
        )  # fmt: skip
        self._optimiser = Optimiser(fabric, network, plan)
        self._best = {"best_error": float("inf"), "best_step": 0.0}

    def run(self, stage: str) -> Iterator[Progress]:
        """Run the remaining steps; an interrupted training is resumed by the next call."""
        optimiser, folder, total = self._optimiser, self._folder, self._optimiser.settings.steps
        writer = MetricsWriter(folder, self._fabric)
        checkpoints = Checkpoints(folder.checkpoints, "network")
        self._best |= optimiser.load(checkpoints) or {}
        try:
            for step in optimiser.run(self._losses):
                if step.number % self._every == 0 or step.number == total:
                    error = self._validate(step.number)
                    writer.write(stage, step.number, {**step.losses, "validation": error})
                if checkpoints.due:
                    optimiser.save(checkpoints, self._best)
                yield Progress(stage, step.number, total, {**step.losses, "best": self._best["best_error"]})
        finally:
            # Also on interruption: the next call resumes from this state.
            optimiser.save(checkpoints, self._best)
        folder.best.replace(folder.weights)

    def _losses(self, step: int) -> dict[str, Tensor]:
        rng = Rng.for_rows(self._batch, self._seed, self._task.target, step)
        rows = shuffled(self._rows, step * self._batch, self._batch, self._seed)
        outputs = self._optimiser.wrapped(self._task.inputs(rows, self._fabric.device, rng))
        return {self._task.target: self._task.losses(outputs, rows).mean()}

    def _validate(self, step: int) -> float:
        """Return the validation loss of the averaged weights, and save them if it is the least so far."""
        with self._optimiser.averaged():
            # Averaged weights need their own batch-normalisation statistics (Izmailov et al. 2018, "Averaging weights
            # leads to wider optima and better generalization").
            rows = shuffled(self._rows, 0, min(STATISTICS_ROWS, len(self._rows)), self._seed)
            batches = [part for part in rows.split(self._batch) if len(part) > 1]
            with torch.no_grad():
                update_bn(
                    ((self._task.inputs(part, self._fabric.device),) for part in batches), self._optimiser.wrapped
                )
            if len(self._validation):
                outputs = _outputs(self._optimiser.wrapped, self._task, self._validation, self._fabric)
                error = float(self._task.losses(outputs, self._validation).mean())
            else:
                error = -float(step)  # without validation rows the last step is selected
            with defer_interrupts():
                if error < self._best["best_error"]:
                    self._best |= {"best_error": error, "best_step": float(step)}
                    save_weights(self._folder.best, self._network.state_dict(), self._best)
        return error


@torch.no_grad()
def _outputs(network: torch.nn.Module, task: Task, rows: Int64[Tensor, "n"], fabric: Fabric) -> Float[Tensor, "n k"]:
    """Compute the outputs of the network in evaluation mode, in batches."""
    network.eval()
    with fabric.autocast():
        parts = [network(task.inputs(part, fabric.device)).float() for part in rows.split(BATCH)]
    return torch.cat(parts)
