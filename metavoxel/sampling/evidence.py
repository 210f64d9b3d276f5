"""What is known of each variable when a question is asked, in code space."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.typing import Code, Mask, Time


def times_of_cells(known: Mask, time: Float64[Tensor, "..."], other: float | Float64[Tensor, ""]) -> Time:
    """Some times (one, or one a row or cell) in known cells and one other in the rest: (b,) for a scalar."""
    if time.ndim == 1:
        time = time.reshape(-1, *[1] * (known.ndim - 1))
    times = torch.where(known.cpu(), time, other)
    return times[:, 0] if known.ndim == 2 else times


class ConditionState(NamedTuple):
    """What is known of a variable, as the walk sees it.

    Attributes:
        value: in known cells.
        known: which cells are.
        log_snr: log(1 / variance) of the value's noise, infinity for an exact one.
        signal: how much of a state of this log(signal / noise) is data.
        time: at which a state has this log(signal / noise): 0 for an exact value, and later the noisier it is.
    """

    value: Code
    known: Mask
    log_snr: Float64[Tensor, ""]
    signal: Float64[Tensor, ""]
    time: Float64[Tensor, ""]

    @property
    def exact(self) -> bool:
        """Whether the value has no noise."""
        return bool(self.time == 0)

    @property
    def state(self) -> Code:
        """The value as a state of ``time``: itself, or if it has noise the signal's share of it.

        It is not noised as well, which would count its noise twice.
        """
        return self.signal.to(self.value) * self.value

    def at(self, t: Float64[Tensor, ""]) -> Mask:
        """Cells that a walk with one time for all holds at t: those of a noisy value down to its time, and no more."""
        return self.known if t >= self.time else torch.zeros_like(self.known)


class Evidence(NamedTuple):
    """Known code of one variable.

    ``known`` marks the cells that are known: (b, 1), or (b, 1, *s) for a grid. ``sd``, in code units, says that the
    value was measured with that much noise; None means exactly.
    """

    code: Code
    known: Mask
    sd: float | None = None

    def of_rows(self, rows: Int64[Tensor, "_"] | slice) -> "Evidence":
        """What is known in these rows."""
        return self._replace(code=self.code[rows], known=self.known[rows])

    def condition_state(self, kernel: AbstractKernel) -> ConditionState:
        """The value beside the states of a kernel: noise of variance sd squared is that where SNR = 1 / sd squared."""
        log_snr = torch.tensor(-2 * math.log(self.sd) if self.sd else math.inf, dtype=torch.float64)
        time = kernel.time_of(log_snr)
        return ConditionState(self.code, self.known, log_snr, kernel.scales(time)[0], time)
