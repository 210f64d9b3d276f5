"""Rank-based inverse normal transform: normal quantiles of ranks among the training rows."""

import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.typing import Code

POINTS = 256
"""Maximum number of support points: distinct training values between which the map is linear."""

COMMON = POINTS // 2
"""A value with a relative frequency above 1 / ``COMMON`` in the training rows is always a support point."""

TAIL = 1.0
"""Width in code units of the outermost intervals that determine the slopes of extrapolation."""

ERROR_STEPS = 64
"""Number of quantiles of a measurement error to propagate to its standard deviation in code units."""


class QuantileCodec(AbstractCodec):
    """Codec of numbers (b,) as (b, 1) codes z = Phi^-1(mid-rank / n), a rank-based inverse normal transform. Final.

    The map is linear between support points. A tied value x, which several training rows share, is decoded from all
    codes in [Phi^-1(F(x-)), Phi^-1(F(x))] with F the empirical distribution, and is encoded at its mid-rank. A tied
    minimum or maximum is a bound: all codes beyond it decode to it. An untied one is extrapolated linearly. Decoding
    standard normal codes thus reproduces the frequencies of integers, zeros and ceiling values in the training rows.

    No code decodes to a value between two adjacent tied values: it is encoded between their codes, and decodes to one
    of them.
    """

    support = "real"
    code_shape = (1,)

    def __init__(self, *, bounds: tuple[float | None, float | None]) -> None:
        super().__init__()
        self._low = -math.inf if bounds[0] is None else bounds[0]
        self._high = math.inf if bounds[1] is None else bounds[1]
        for name in ("values", "below", "own", "above"):
            self.register_buffer(name, torch.zeros(POINTS, dtype=torch.float64))
        self.register_buffer("tails", torch.ones(2, dtype=torch.float64))
        self.register_buffer("size", torch.ones((), dtype=torch.int64))
        self.values: Tensor  # increasing; then the lowest, own and highest code of each
        self.below: Tensor
        self.own: Tensor
        self.above: Tensor
        self.tails: Tensor  # value per code unit, below the first and above the last
        self.size: Tensor  # number of support points in use

    @property
    def tolerance(self) -> float:  # type: ignore[override]
        """Rounding error of codes in single precision at the steepest slope."""
        values, low, _, high = self._points()
        slope = float(self.tails.max())
        if len(values) > 1:
            gap = low[1:] - high[:-1]
            slope = max(slope, float(torch.where(gap > 0, values.diff() / torch.where(gap > 0, gap, 1.0), 0.0).max()))
        return 1e-6 * slope + 1e-12 * float(values.abs().max())

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b"]]]) -> None:
        rows = torch.cat(list(batches())).double()
        values, counts = torch.unique(rows, return_counts=True)
        counts = counts.double()
        last = counts.cumsum(0)
        middle = torch.special.ndtri((last - counts / 2) / len(rows))
        chosen = _support(middle, counts)
        values, middle = values[chosen], middle[chosen]
        first, last, tied = (last - counts)[chosen], last[chosen], counts[chosen] > 1
        if len(rows) == 1:  # one row gives no slope to extrapolate with, so the value is a constant
            tied = torch.ones_like(tied)
        below = torch.where(tied, torch.special.ndtri(first / len(rows)), middle)
        above = torch.where(tied, torch.special.ndtri(last / len(rows)), middle)
        size = len(chosen)
        for buffer, found in ((self.values, values), (self.below, below), (self.own, middle), (self.above, above)):
            buffer.zero_()
            buffer[:size] = found
        self.size.fill_(size)
        self.tails.fill_(1.0)
        if size > 1:
            inner = min(int((middle < middle[0] + TAIL).sum()), size - 1)
            outer = max(int((middle <= middle[-1] - TAIL).sum()) - 1, 0)
            self.tails[0] = (values[inner] - values[0]) / (middle[inner] - middle[0])
            self.tails[1] = (values[-1] - values[outer]) / (middle[-1] - middle[outer])

    def _points(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the values of the support points, and the lowest, own and highest code of each."""
        size = int(self.size)
        return self.values[:size], self.below[:size], self.own[:size], self.above[:size]

    def encode(self, x: Float[Tensor, "b"]) -> Encoded:
        values, _, own, _ = self._points()
        x = x.double()
        position = torch.searchsorted(values, x.detach())
        at = position.clamp(max=len(values) - 1)
        exact = values[at] == x.detach()
        # A tied value is a point mass without density, so the derivative of its code is 0.
        code = torch.where(exact & (self.below[at] < self.above[at]), own[at], self._between(x, position))
        return Encoded(code.float()[:, None])

    def _between(self, x: Float64[Tensor, "b"], position: Int64[Tensor, "b"]) -> Float64[Tensor, "b"]:
        """Encode values that lie above ``position`` support points."""
        values, low, own, high = self._points()
        before, after = (position - 1).clamp(0, len(values) - 1), position.clamp(0, len(values) - 1)
        width = values[after] - values[before]
        fraction = (x - values[before]) / torch.where(width > 0, width, 1.0)
        free = low[after] > high[before]
        start, end = torch.where(free, high[before], own[before]), torch.where(free, low[after], own[after])
        # No code decodes to a value between adjacent tied values, so its density is 0 too.
        fraction = torch.where(free, fraction, fraction.detach())
        inside = start + (end - start) * fraction
        outside_low = own[0] + (x - values[0]) / self.tails[0]
        outside_high = own[-1] + (x - values[-1]) / self.tails[1]
        return torch.where(position == 0, outside_low, torch.where(position == len(values), outside_high, inside))

    def decode(self, z: Code) -> Float[Tensor, "b"]:
        values, low, _, high = self._points()
        code = z[:, 0].double()
        position = torch.searchsorted(low, code, right=True)
        before, after = (position - 1).clamp_min(0), position.clamp(max=len(values) - 1)
        gap = low[after] - high[before]
        fraction = ((code - high[before]) / torch.where(gap > 0, gap, 1.0)).clamp(0, 1)
        inside = values[before] + (values[after] - values[before]) * torch.where(gap > 0, fraction, 0.0)
        x = torch.where(code < low[0], values[0] + (code - low[0]) * self.tails[0], inside)
        x = torch.where(code > high[-1], values[-1] + (code - high[-1]) * self.tails[1], x)
        return x.clamp(self._low, self._high)

    def code_interval(self, x: Float[Tensor, "b"]) -> tuple[Code, Code]:
        values, low, _, high = self._points()
        x = x.double()
        position = torch.searchsorted(values, x)
        at, before = position.clamp(max=len(values) - 1), (position - 1).clamp_min(0)
        exact, between = values[at] == x, (position > 0) & (position < len(values)) & (low[at] <= high[before])
        code = torch.where(between, high[before], self._between(x, position))
        code = torch.where((position == 0) & low[0].isinf(), low[0], code)  # every code decodes to a larger value
        code = torch.where((position == len(values)) & high[-1].isinf(), high[-1], code)
        lowest, highest = torch.where(exact, low[at], code), torch.where(exact, high[at], code)
        return lowest.float()[:, None], highest.float()[:, None]

    def code_sd(self, x: Float[Tensor, "b"], sd: float) -> Float64[Tensor, "b"]:
        """Return the standard deviation of codes under a Gaussian error, by quadrature: the map is not smooth."""
        levels = (torch.arange(ERROR_STEPS, dtype=torch.float64, device=x.device) + 0.5) / ERROR_STEPS
        errors = torch.special.ndtri(levels)
        errors = errors / errors.square().mean().sqrt()
        perturbed = (x.double()[:, None] + sd * errors).clamp(self._low, self._high)
        codes = self.encode(perturbed.flatten()).mean.double().reshape(perturbed.shape)
        return codes.std(1, unbiased=False).cpu()


def _support(middle: Float64[Tensor, "k"], counts: Float64[Tensor, "k"]) -> Int64[Tensor, "p"]:
    """Select the support points: all distinct values, or common ones and others evenly spaced in code."""
    if len(middle) <= POINTS:
        return torch.arange(len(middle), device=middle.device)
    common = (counts * COMMON > counts.sum()).nonzero()[:, 0]
    fractions = torch.linspace(0, 1, POINTS - len(common), dtype=torch.float64, device=middle.device)
    targets = torch.lerp(middle[0], middle[-1], fractions)
    spaced = torch.searchsorted(middle, targets).clamp(max=len(middle) - 1)
    return torch.cat([common, spaced]).unique()


class QuantileSpec(AbstractCodecSpec):
    """Settings of a rank-based inverse normal transform, whose codes are normally distributed."""

    support: ClassVar[str] = "real"

    type: Literal["quantile"] = "quantile"
    limits: tuple[float | None, float | None] = Field(
        (None, None), description="[low, high]: bounds of decoded values, or null for none (in the variable's unit)"
    )

    @property
    def is_standardised(self) -> bool:
        return True

    def build(self, data_shape: tuple[int, ...]) -> QuantileCodec:
        return QuantileCodec(bounds=self.limits)

    def problems(self) -> list[str]:
        low, high = self.limits
        if low is not None and high is not None and not low < high:
            return [f"limits must rise: [low, high], not {[low, high]}"]
        return []
