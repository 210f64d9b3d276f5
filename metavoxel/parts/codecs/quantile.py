"""Numbers to normal quantiles of their ranks among the training rows."""

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
"""Most support points: distinct training values between which the map is a line."""

COMMON = POINTS // 2
"""A value that more than one in so many training rows have is a support point in any case."""

TAIL = 1.0
"""Code units at either end whose slope the extrapolation beyond the extreme training values has."""

ERROR_STEPS = 64
"""Quantiles of a measurement's error that its spread in code units is computed from."""


class QuantileCodec(AbstractCodec):
    """(b,) numbers to (b, 1) codes z = Phi^-1(mid-rank / n), a rank-based inverse normal transform. Final.

    Between support points code and value are linear in each other. A value that several training rows share owns the
    codes from Phi^-1(F(x-)) to Phi^-1(F(x)), where F is their empirical distribution: each decodes to that value, and
    its own code is the middle in rank. The lowest and the highest value own all codes beyond theirs if they are shared,
    for then they are taken as limits; beyond others the map goes on as a line. So whole numbers, zeros among positive
    numbers and a ceiling come out of normal codes as often as the training rows have them.

    Two shared neighbours leave no code between them: a value there is encoded between their codes, and decodes to one.
    """

    support = "real"
    code_shape = (1,)

    def __init__(self, *, limits: tuple[float | None, float | None]) -> None:
        super().__init__()
        self._least = -math.inf if limits[0] is None else limits[0]
        self._most = math.inf if limits[1] is None else limits[1]
        for name in ("values", "below", "own", "above"):
            self.register_buffer(name, torch.zeros(POINTS, dtype=torch.float64))
        self.register_buffer("tails", torch.ones(2, dtype=torch.float64))
        self.register_buffer("size", torch.ones((), dtype=torch.int64))
        self.values: Tensor  # rising; of each, the lowest, own and highest code
        self.below: Tensor
        self.own: Tensor
        self.above: Tensor
        self.tails: Tensor  # value per code unit, below the first and above the last
        self.size: Tensor  # of what is in use

    @property
    def tolerance(self) -> float:  # type: ignore[override]
        """Rounding of codes in single precision, where the map is steepest."""
        values, low, _, high = self._points()
        steep = float(self.tails.max())
        if len(values) > 1:
            gap = low[1:] - high[:-1]
            steep = max(steep, float(torch.where(gap > 0, values.diff() / torch.where(gap > 0, gap, 1.0), 0.0).max()))
        return 1e-6 * steep + 1e-12 * float(values.abs().max())

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b"]]]) -> None:
        rows = torch.cat(list(batches())).double()
        values, counts = torch.unique(rows, return_counts=True)
        counts = counts.double()
        last = counts.cumsum(0)
        middle = torch.special.ndtri((last - counts / 2) / len(rows))
        chosen = _support(middle, counts)
        values, middle = values[chosen], middle[chosen]
        first, last, shared = (last - counts)[chosen], last[chosen], counts[chosen] > 1
        if len(rows) == 1:  # one row has no spread to extrapolate with, so it is a constant
            shared = torch.ones_like(shared)
        below = torch.where(shared, torch.special.ndtri(first / len(rows)), middle)
        above = torch.where(shared, torch.special.ndtri(last / len(rows)), middle)
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
        """Values of the support points, and the lowest, own and highest code of each."""
        size = int(self.size)
        return self.values[:size], self.below[:size], self.own[:size], self.above[:size]

    def encode(self, x: Float[Tensor, "b"]) -> Encoded:
        values, _, own, _ = self._points()
        x = x.double()
        place = torch.searchsorted(values, x.detach())
        at = place.clamp(max=len(values) - 1)
        exact = values[at] == x.detach()
        # A shared value has a probability and no density: its code does not change with it.
        code = torch.where(exact & (self.below[at] < self.above[at]), own[at], self._between(x, place))
        return Encoded(code.float()[:, None])

    def _between(self, x: Float64[Tensor, "b"], place: Int64[Tensor, "b"]) -> Float64[Tensor, "b"]:
        """Codes of values that lie above ``place`` of the support points."""
        values, low, own, high = self._points()
        before, after = (place - 1).clamp(0, len(values) - 1), place.clamp(0, len(values) - 1)
        width = values[after] - values[before]
        share = (x - values[before]) / torch.where(width > 0, width, 1.0)
        free = low[after] > high[before]
        start, end = torch.where(free, high[before], own[before]), torch.where(free, low[after], own[after])
        # No code decodes to a value between shared neighbours, so it has no density either.
        share = torch.where(free, share, share.detach())
        inside = start + (end - start) * share
        outside_low = own[0] + (x - values[0]) / self.tails[0]
        outside_high = own[-1] + (x - values[-1]) / self.tails[1]
        return torch.where(place == 0, outside_low, torch.where(place == len(values), outside_high, inside))

    def decode(self, z: Code) -> Float[Tensor, "b"]:
        values, low, _, high = self._points()
        code = z[:, 0].double()
        place = torch.searchsorted(low, code, right=True)
        before, after = (place - 1).clamp_min(0), place.clamp(max=len(values) - 1)
        gap = low[after] - high[before]
        share = ((code - high[before]) / torch.where(gap > 0, gap, 1.0)).clamp(0, 1)
        inside = values[before] + (values[after] - values[before]) * torch.where(gap > 0, share, 0.0)
        x = torch.where(code < low[0], values[0] + (code - low[0]) * self.tails[0], inside)
        x = torch.where(code > high[-1], values[-1] + (code - high[-1]) * self.tails[1], x)
        return x.clamp(self._least, self._most)

    def code_interval(self, x: Float[Tensor, "b"]) -> tuple[Code, Code]:
        values, low, _, high = self._points()
        x = x.double()
        place = torch.searchsorted(values, x)
        at, before = place.clamp(max=len(values) - 1), (place - 1).clamp_min(0)
        exact, between = values[at] == x, (place > 0) & (place < len(values)) & (low[at] <= high[before])
        code = torch.where(between, high[before], self._between(x, place))
        code = torch.where((place == 0) & low[0].isinf(), low[0], code)  # every code decodes to more
        code = torch.where((place == len(values)) & high[-1].isinf(), high[-1], code)
        lowest, highest = torch.where(exact, low[at], code), torch.where(exact, high[at], code)
        return lowest.float()[:, None], highest.float()[:, None]

    def code_sd(self, x: Float[Tensor, "b"], sd: float) -> Float64[Tensor, "b"]:
        """Spread of the codes of a normal error: the map has kinks and steps, and no one slope stands for them."""
        levels = (torch.arange(ERROR_STEPS, dtype=torch.float64, device=x.device) + 0.5) / ERROR_STEPS
        errors = torch.special.ndtri(levels)
        errors = errors / errors.square().mean().sqrt()
        around = (x.double()[:, None] + sd * errors).clamp(self._least, self._most)
        codes = self.encode(around.flatten()).mean.double().reshape(around.shape)
        return codes.std(1, unbiased=False).cpu()


def _support(middle: Float64[Tensor, "k"], counts: Float64[Tensor, "k"]) -> Int64[Tensor, "p"]:
    """Which distinct values are support points: all, or the common ones and others at even distances of their codes."""
    if len(middle) <= POINTS:
        return torch.arange(len(middle), device=middle.device)
    common = (counts * COMMON > counts.sum()).nonzero()[:, 0]
    shares = torch.linspace(0, 1, POINTS - len(common), dtype=torch.float64, device=middle.device)
    targets = torch.lerp(middle[0], middle[-1], shares)
    even = torch.searchsorted(middle, targets).clamp(max=len(middle) - 1)
    return torch.cat([common, even]).unique()


class QuantileSpec(AbstractCodecSpec):
    """A number to the normal quantile of its rank among the training rows, so that codes are normally distributed."""

    support: ClassVar[str] = "real"

    type: Literal["quantile"] = "quantile"
    limits: tuple[float | None, float | None] = Field(
        (None, None), description="[low, high]: numbers that decoding never leaves, or null (in the variable's unit)"
    )

    def build(self, data_shape: tuple[int, ...]) -> QuantileCodec:
        return QuantileCodec(limits=self.limits)

    def problems(self) -> list[str]:
        low, high = self.limits
        if low is not None and high is not None and not low < high:
            return [f"limits must rise: [low, high], not {[low, high]}"]
        return []
