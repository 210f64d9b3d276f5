"""The optimisation loop that codecs and joint models share."""

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
    """Settings of AdamW with a warm-up and a cosine down to a hundredth.

    ``orthogonal`` names matrices that Muon moves in its place (Jordan et al. 2024), by steps as long as AdamW's.
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
    """One finished step, counted from 1. ``losses`` are the weighted terms whose sum was minimised."""

    number: int
    total: int
    losses: dict[str, float]


def learning_rate(settings: Optimisation, step: int) -> float:
    """Rate of a step counted from 0."""
    rise = min(1.0, (step + 1) / max(settings.warm_up, 1))
    progress = step / max(settings.steps, 1)
    return settings.learning_rate * rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Optimiser:
    """A module, its optimiser and the moving average of its weights, all of which a checkpoint holds. Final."""

    def __init__(self, fabric: Fabric, module: nn.Module, settings: Optimisation) -> None:
        self.fabric, self.module, self.settings = fabric, module, settings
        orthogonal = [weight for name, weight in module.named_parameters() if name in settings.orthogonal]
        others = [weight for name, weight in module.named_parameters() if name not in settings.orthogonal]
        groups = [
            {"params": [weight for weight in others if weight.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [weight for weight in others if weight.ndim <= 1], "weight_decay": 0.0},
        ]
        # Fused, a small network's step costs a tenth on CPUs; elsewhere it cannot be clipped under a loss scale.
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
        """Take the remaining steps; ``loss(step)`` gives the terms of a step counted from 0.

        Raises:
            NumericalError: a loss or a gradient that is not finite; the weights are then those before the step.
        """
        self.wrapped.train()
        while self.step < self.settings.steps:
            for raw in self._raw:
                for group in raw.param_groups:
                    group["lr"] = learning_rate(self.settings, self.step)
            # Dropout draws from the global generator: seeded anew, a step draws the same in a run that was resumed.
            torch.manual_seed(stream_key(self.settings.seed, "dropout", self.fabric.global_rank, self.step))
            terms = loss(self.step)
            total = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(total):
                bad = [name for name, term in terms.items() if not torch.isfinite(term)]
                raise NumericalError(f"training step {self.step + 1}: the loss of {', '.join(bad)} is not finite")
            self.fabric.backward(total)
            norm = self._clipped()
            # In half precision a step that overflows is skipped, and the scale lowered.
            precision = self.fabric._precision.precision
            if norm is not None and not torch.isfinite(norm) and precision != "16-mixed":
                what = f"training step {self.step + 1}: the gradient is not finite"
                raise NumericalError(what if precision == "32-true" else f"{what}; try --precision 32-true")
            with defer_interrupts():
                for optimizer in self._optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
                self.step += 1
                self._follow()
            yield Step(self.step, self.settings.steps, {name: float(term.detach()) for name, term in terms.items()})

    def _clipped(self) -> Tensor | None:
        """Scale the gradients of all weights, whichever optimiser has them, to a joint norm of at most ``clip``.

        Returns the norm before. Fabric clips the weights of one optimiser, but knows how to undo a loss scale, which
        goes with one optimiser alone.
        """
        if self.fabric._precision.precision == "16-mixed":
            return self.fabric.clip_gradients(
                self.wrapped, self._optimizers[0], max_norm=self.settings.clip, error_if_nonfinite=False
            )
        weights = [weight for raw in self._raw for group in raw.param_groups for weight in group["params"]]
        return torch.nn.utils.clip_grad_norm_(weights, self.settings.clip, error_if_nonfinite=False)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; early steps count for more, so that a short run is not held back."""
        follow = get_ema_multi_avg_fn(min(self.settings.ema, (1 + self.step) / (10 + self.step)))
        follow(list(self.average.values()), [weight.detach() for weight in self.module.parameters()], self.step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights are in the module for as long as this lasts; afterwards it is as it was."""
        before = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        try:
            self.module.load_state_dict({**before, **self.average})
            yield
        finally:
            # Also when the user stops the program here: what is saved then has to be the weights.
            self.module.load_state_dict(before)
            self.wrapped.train()

    def save(self, path: Path, extra: Mapping[str, float] = {}) -> None:
        """Write all that the next step depends on."""
        if self.fabric.is_global_zero:
            save_training_state(path, self.module, self._raw, self.average, {"step": self.step, **extra})

    def load(self, path: Path) -> dict[str, float]:
        """Continue from what ``save`` wrote; the ``extra`` numbers come back."""
        numbers = load_training_state(path, self.module, self._raw, self.average)
        self.step = int(numbers.pop("step"))
        return numbers


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Let an interrupt wait, so that what is saved after it is the state of a whole step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        waiting.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    for pending in waiting:
        signal.raise_signal(pending)
