"""Optimisation loop of codecs, joint models and comparison networks."""

import math
import signal
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import NamedTuple, final

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from metavoxel.cohort.identifiers import some
from metavoxel.errors import NumericalError, RunWarning
from metavoxel.rng import stream_key
from metavoxel.runs.checkpoint import restore_training_state, training_state
from metavoxel.runs.checkpoints import Checkpoints


class Optimisation(NamedTuple):
    """Settings of AdamW with linear warm-up and cosine decay to a hundredth of the learning rate.

    ``orthogonal`` names matrices optimised by Muon instead (Jordan et al. 2024), scaled to the update norm of AdamW.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    warm_up: int
    clip: float
    ema: float = 0.0
    seed: int = 0
    orthogonal: Collection[str] = ()


class Step(NamedTuple):
    """A completed step, counted from 1. ``losses`` are the weighted terms of the objective that are finite."""

    number: int
    total: int
    losses: dict[str, float]


NON_FINITE_IN_A_ROW = 3
"""Number of consecutive steps with a non-finite loss or gradient at which training stops; fewer are skipped."""

SPIKE, SPIKE_AFTER, REPORTED_SPIKES = 5.0, 50, 5
"""Ratio of a step's loss to its moving average that counts as a spike, the first step at which it may, and the number
of spikes that are reported one by one."""


@final
@dataclass
class Guard:
    """Counts of suspicious steps, saved with the training.

    Attributes:
        skipped: steps whose loss or gradient was not finite.
        in_a_row: those since the last finite step.
        spikes: steps whose loss was several times its moving average.
        average_loss: moving average of the loss over finite steps.
    """

    skipped: int = 0
    in_a_row: int = 0
    spikes: int = 0
    average_loss: float = 0.0

    def finite(self, step: int, loss: float) -> float:
        """Count a step, from 0, whose loss and gradient are finite; return its loss relative to the average if a spike.

        That of other steps is 0.
        """
        self.in_a_row = 0
        spike = step >= SPIKE_AFTER and loss > SPIKE * self.average_loss
        ratio = loss / self.average_loss if spike else 0.0
        self.spikes += spike
        self.average_loss += (loss - self.average_loss) / min(step + 1, SPIKE_AFTER)
        return ratio


def learning_rate(settings: Optimisation, step: int) -> float:
    """Return the learning rate of a step counted from 0."""
    warm_up = min(1.0, (step + 1) / max(settings.warm_up, 1))
    progress = step / max(settings.steps, 1)
    return settings.learning_rate * warm_up * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Optimiser:
    """A module with its optimisers and the moving average of its weights, all saved in checkpoints. Final."""

    def __init__(self, fabric: Fabric, module: nn.Module, settings: Optimisation) -> None:
        self.fabric, self.module, self.settings = fabric, module, settings
        orthogonal = [weight for name, weight in module.named_parameters() if name in settings.orthogonal]
        others = [weight for name, weight in module.named_parameters() if name not in settings.orthogonal]
        groups = [
            {"params": [weight for weight in others if weight.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [weight for weight in others if weight.ndim <= 1], "weight_decay": 0.0},
        ]
        # On CPUs the fused step of a small network costs a tenth; elsewhere it precludes clipping under a loss scale.
        fused = True if fabric.device.type == "cpu" else None
        self._raw: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, settings.learning_rate, betas=(0.9, 0.99), fused=fused)
        ]
        if orthogonal:
            self._raw.append(
                torch.optim.Muon(
                    orthogonal,
                    settings.learning_rate,
                    weight_decay=settings.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        self.wrapped, *self._optimizers = fabric.setup(module, *self._raw)
        self.average = {name: weight.detach().clone() for name, weight in module.named_parameters()}
        self.step, self.guard = 0, Guard()

    def run(
        self, loss: Callable[[int], Mapping[str, Tensor]], subjects: Callable[[int], Sequence[str]] = lambda step: ()
    ) -> Iterator[Step]:
        """Run the remaining steps.

        A step whose loss or gradient is not finite changes no weight, and is reported by a warning.

        Args:
            loss: returns the loss terms of a step counted from 0.
            subjects: names the subjects in the batch of a step, for messages.

        Raises:
            NumericalError: several such steps in a row; weights and step number are then those before the first.
        """
        self.wrapped.train()
        while self.step < self.settings.steps:
            for raw in self._raw:
                for group in raw.param_groups:
                    group["lr"] = learning_rate(self.settings, self.step)
            # Dropout uses the global generator: seeding every step makes resumed runs reproducible.
            torch.manual_seed(stream_key(self.settings.seed, "dropout", self.fabric.global_rank, self.step))
            terms = loss(self.step)
            total = torch.stack(list(terms.values())).sum()
            # Of several processes all step or none, which the gradient decides: it is the mean over all of them.
            several = self.fabric.world_size > 1
            cause = "" if several or torch.isfinite(total) else _non_finite(terms)
            if not cause:
                self.fabric.backward(total)
                norm = self._clipped()
                # In 16-mixed precision the loss scaler skips steps with overflow.
                if norm is not None and not torch.isfinite(norm) and self._precision != "16-mixed":
                    cause = "the gradient is not finite"
            values = dict(zip(terms, self._means(torch.stack(list(terms.values())).detach()), strict=True))
            with defer_interrupts():
                if cause:
                    self._skip(cause, subjects)
                else:
                    for optimizer in self._optimizers:
                        optimizer.step()
                        optimizer.zero_grad()
                    self._count(sum(values.values()), subjects)
                self.step += 1
                if not cause:
                    self._update_average()
            finite = {name: value for name, value in values.items() if math.isfinite(value)}
            yield Step(self.step, self.settings.steps, finite)

    def _means(self, values: Tensor) -> list[float]:
        """Mean over all processes, which have the same shares of the loss."""
        several = self.fabric.world_size > 1
        return torch.as_tensor(self.fabric.all_reduce(values, reduce_op="mean") if several else values).tolist()

    @property
    def _precision(self) -> str:
        return str(self.fabric._precision.precision)

    def _skip(self, cause: str, subjects: Callable[[int], Sequence[str]]) -> None:
        """Count the current step as skipped.

        Raises:
            NumericalError: too many in a row.
        """
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        self.guard.skipped += 1
        self.guard.in_a_row += 1
        step, names = self.step + 1, some(subjects(self.step))
        batch = f" (subjects {names})" if names else ""
        if self.guard.in_a_row < min(NON_FINITE_IN_A_ROW, self.settings.steps):
            warnings.warn(f"training step {step}: {cause}{batch}; the step is skipped", RunWarning, stacklevel=2)
            return
        count = self.guard.in_a_row
        self.step -= count - 1
        self.guard.skipped -= count
        self.guard.in_a_row = 0
        where = f"training step {step}" if count == 1 else f"training steps {self.step + 1} to {step}"
        remedy = "Check the values of these subjects, or lower training.learning_rate"
        if self._precision != "32-true":
            remedy += ", or try `precision=32-true`"
        raise NumericalError(f"{where}: {cause}{batch}. The state before is kept. {remedy}")

    def _count(self, loss: float, subjects: Callable[[int], Sequence[str]]) -> None:
        """Count the current step as finite; report the first few spikes of the loss."""
        ratio = self.guard.finite(self.step, loss)
        if ratio and self.guard.spikes <= REPORTED_SPIKES and self.fabric.is_global_zero:
            names = some(subjects(self.step))
            batch = f" (subjects {names})" if names else ""
            rest = "; further ones are only counted" if self.guard.spikes == REPORTED_SPIKES else ""
            what = f"the loss is {ratio:.3g} times its average{batch}{rest}"
            warnings.warn(f"training step {self.step + 1}: {what}", RunWarning, stacklevel=2)

    def _clipped(self) -> Tensor | None:
        """Clip the joint gradient norm of all optimisers to ``clip``, and return the norm before clipping.

        Fabric clips the weights of one optimiser only, but it also unscales gradients; a loss scale is only used with
        a single optimiser.
        """
        if self._precision == "16-mixed":
            return self.fabric.clip_gradients(
                self.wrapped, self._optimizers[0], max_norm=self.settings.clip, error_if_nonfinite=False
            )
        weights = [weight for raw in self._raw for group in raw.param_groups for weight in group["params"]]
        return torch.nn.utils.clip_grad_norm_(weights, self.settings.clip, error_if_nonfinite=False)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Update the moving average of the weights, with smaller decay in early steps to reduce its bias."""
        update = get_ema_multi_avg_fn(min(self.settings.ema, (1 + self.step) / (10 + self.step)))
        update(list(self.average.values()), [weight.detach() for weight in self.module.parameters()], self.step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Load the averaged weights into the module within the context, and restore its state afterwards."""
        before = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        try:
            self.module.load_state_dict({**before, **self.average})
            yield
        finally:
            # Also on interruption, so that checkpoints hold the weights and not their average.
            self.module.load_state_dict(before)
            self.wrapped.train()

    def save(self, checkpoints: Checkpoints, extra: Mapping[str, float] = {}) -> None:
        """Write a checkpoint, with interrupts deferred until it is complete.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        if self.fabric.is_global_zero:
            with defer_interrupts():
                tensors = training_state(self.module, self._raw, self.average)
                checkpoints.write(self.step, tensors, {"step": self.step, **asdict(self.guard), **extra})

    def load(self, checkpoints: Checkpoints) -> dict[str, float] | None:
        """Restore the newest whole checkpoint; return its ``extra`` numbers, or None if there is none.

        Raises:
            RunError: a checkpoint cannot be read, or is one of another model.
        """
        found = checkpoints.newest()
        if found is None:
            return None
        tensors, numbers = found
        restore_training_state(tensors, self.module, self._raw, self.average)
        self.step = int(numbers.pop("step"))
        self.guard = Guard(
            int(numbers.pop("skipped")),
            int(numbers.pop("in_a_row")),
            int(numbers.pop("spikes")),
            numbers.pop("average_loss"),
        )
        return numbers


def _non_finite(terms: Mapping[str, Tensor]) -> str:
    bad = [name for name, term in terms.items() if not torch.isfinite(term)]
    return f"the loss of {', '.join(bad) or 'all variables'} is not finite"


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Defer SIGINT and SIGTERM to the end of the context, so that checkpoints hold complete steps."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        pending.append(number)

    before = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    for interrupt in pending:
        signal.raise_signal(interrupt)
