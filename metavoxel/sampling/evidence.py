"""Evidence in code space: the known cells of each variable, exact or with Gaussian measurement error."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.typing import Code, Mask, Time


def times_of_cells(known: Mask, time: Float64[Tensor, "..."], other: float | Float64[Tensor, ""]) -> Time:
    """Return ``time`` (one, or one per row or cell) in known cells, ``other`` in the rest; (b,) for a scalar."""
    if time.ndim == 1:
        time = time.reshape(-1, *[1] * (known.ndim - 1))
    times = torch.where(known.cpu(), time, other)
    return times[:, 0] if known.ndim == 2 else times


class ConditionState(NamedTuple):
    """Evidence on one variable, beside the states of its kernel.

    Attributes:
        value: code of the known cells.
        known: mask of the known cells.
        log_snr: log(1 / variance) of the measurement error; infinity for an exact value.
        signal: signal scale of a state with this log-SNR.
        time: time of a state with this log-SNR; 0 for an exact value.
    """

    value: Code
    known: Mask
    log_snr: Float64[Tensor, ""]
    signal: Float64[Tensor, ""]
    time: Float64[Tensor, ""]

    @property
    def exact(self) -> bool:
        """Whether the value has no measurement error."""
        return bool(self.time == 0)

    @property
    def state(self) -> Code:
        """The value as a state at ``time``: scaled by ``signal``, which is 1 if it is exact.

        No noise is added, as the measurement error is already in the value.
        """
        return self.signal.to(self.value) * self.value

    def at(self, t: Float64[Tensor, ""]) -> Mask:
        """Return the cells that are conditioned on at t, if all variables share one time: none below ``time``."""
        return self.known if t >= self.time else torch.zeros_like(self.known)


class Evidence(NamedTuple):
    """Known code of one variable.

    Attributes:
        code: values, arbitrary in unknown cells.
        known: mask of the known cells: (b, 1), or (b, 1, *s) for a grid.
        sd: standard deviation of the measurement error in code units; None for an exact value.
    """

    code: Code
    known: Mask
    sd: float | None = None

    def of_rows(self, rows: Int64[Tensor, "_"] | slice) -> "Evidence":
        """Return the evidence of these rows."""
        return self._replace(code=self.code[rows], known=self.known[rows])

    def condition_state(self, kernel: AbstractKernel) -> ConditionState:
        """Return the evidence beside the states of a kernel: a measurement has SNR = 1 / sd^2."""
        log_snr = torch.tensor(-2 * math.log(self.sd) if self.sd else math.inf, dtype=torch.float64)
        time = kernel.time_of(log_snr)
        return ConditionState(self.code, self.known, log_snr, kernel.scales(time)[0], time)
