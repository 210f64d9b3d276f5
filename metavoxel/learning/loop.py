"""Optimisation loop of codecs, joint models and comparison networks."""

import math
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from metavoxel.errors import NumericalError
from metavoxel.rng import stream_key
from metavoxel.runs.checkpoint import load_training_state, save_training_state


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
    """A completed step, counted from 1. ``losses`` are the weighted terms of the objective."""

    number: int
    total: int
    losses: dict[str, float]


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
        self.step = 0

    def run(self, loss: Callable[[int], Mapping[str, Tensor]]) -> Iterator[Step]:
        """Run the remaining steps; ``loss(step)`` returns the loss terms of a step counted from 0.

        Raises:
            NumericalError: a loss or gradient is not finite; the weights are then those before the step.
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
            if not torch.isfinite(total):
                bad = [name for name, term in terms.items() if not torch.isfinite(term)]
                raise NumericalError(f"training step {self.step + 1}: the loss of {', '.join(bad)} is not finite")
            self.fabric.backward(total)
            norm = self._clipped()
            # In 16-mixed precision the loss scaler skips steps with overflow.
            precision = self.fabric._precision.precision
            if norm is not None and not torch.isfinite(norm) and precision != "16-mixed":
                what = f"training step {self.step + 1}: the gradient is not finite"
                raise NumericalError(what if precision == "32-true" else f"{what}; try `precision=32-true`")
            with defer_interrupts():
                for optimizer in self._optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
                self.step += 1
                self._update_average()
            yield Step(self.step, self.settings.steps, {name: float(term.detach()) for name, term in terms.items()})

    def _clipped(self) -> Tensor | None:
        """Clip the joint gradient norm of all optimisers to ``clip``, and return the norm before clipping.

        Fabric clips the weights of one optimiser only, but it also unscales gradients; a loss scale is only used with
        a single optimiser.
        """
        if self.fabric._precision.precision == "16-mixed":
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

    def save(self, path: Path, extra: Mapping[str, float] = {}) -> None:
        """Write the training state to a checkpoint."""
        if self.fabric.is_global_zero:
            save_training_state(path, self.module, self._raw, self.average, {"step": self.step, **extra})

    def load(self, path: Path) -> dict[str, float]:
        """Restore a checkpoint written by ``save``; return its ``extra`` numbers."""
        numbers = load_training_state(path, self.module, self._raw, self.average)
        self.step = int(numbers.pop("step"))
        return numbers


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
