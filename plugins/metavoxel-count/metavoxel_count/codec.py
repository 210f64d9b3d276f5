"""Non-negative numbers as normal scores, with an interval of scores for every frequent or censored number.

A monotone map g takes a score z ~ N(0, 1) to log(x + offset). A number x is the image of an interval of scores, whose
truncated normal distribution is its code: with phi and Phi density and distribution function of N(0, 1),

    low < z < high:    mean = (phi(low) - phi(high)) / p,    p = Phi(high) - Phi(low),                           (1)
                       var = 1 + (low phi(low) - high phi(high)) / p - mean^2.                                   (2)

For a whole number, the interval ends at g^-1(log(x -+ 1/2 + offset)). A number at a limit has all scores beyond it.
"""

import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.typing import Code

REACH = 2.5
"""Largest absolute score at which g interpolates the training rows; beyond, it is linear."""
KNOTS = 101
SPREAD = 16
"""Points at which a whole number enters the fit, evenly spaced in half a unit to either side."""
FAR = 9.0


def truncated(
    low: Float64[Tensor, "b"], high: Float64[Tensor, "b"]
) -> tuple[Float64[Tensor, "b"], Float64[Tensor, "b"]]:
    """Return mean and standard deviation of a standard normal number between two scores, eq. (1) and (2)."""
    middle, width = (low + high) / 2, high - low
    low, high = low.clamp(-FAR, FAR), high.clamp(-FAR, FAR)
    narrow = high - low < 1e-2
    above = middle > 0  # the lower tail has the higher precision
    a, b = torch.where(above, -high, low), torch.where(above, -low, high)
    probability = torch.where(narrow, 1.0, torch.special.ndtr(b) - torch.special.ndtr(a))
    at_a, at_b = (torch.exp(-edge.square() / 2) / math.sqrt(math.tau) for edge in (a, b))
    mean = (at_a - at_b) / probability
    variance = 1 + (a * at_a - b * at_b) / probability - mean.square()
    sd = torch.where(narrow, width / math.sqrt(12), variance.clamp_min(0).sqrt())
    return torch.where(narrow, middle, torch.where(above, -mean, mean)), sd


class CountCodec(AbstractCodec):
    """(b,) numbers to (b, 1) normal scores with the standard deviation of their interval, eq. (1) and (2). Final.

    g is piecewise linear through knots: the training rows' quantiles or, for ``scale: log``, the line given by mean and
    standard deviation of their logarithms.
    """

    support = "real"
    code_shape = (1,)

    def __init__(self, *, whole: bool, scale: str, limits: tuple[float | None, float | None]) -> None:
        super().__init__()
        self._whole, self._scale = whole, scale
        self._low, self._high = limits[0] or 0.0, math.inf if limits[1] is None else limits[1]
        self.register_buffer("offset", torch.ones((), dtype=torch.float64))
        self.register_buffer("slope", torch.ones((), dtype=torch.float64))
        self.register_buffer("knots", self._scores())
        self.offset: Tensor
        self.slope: Tensor
        self.knots: Tensor

    @staticmethod
    def _scores() -> Float64[Tensor, "k"]:
        return torch.linspace(-REACH, REACH, KNOTS, dtype=torch.float64)

    @property
    def tolerance(self) -> float:  # type: ignore[override]
        """0 for whole numbers; else the rounding error of the largest number in single precision."""
        return 0.0 if self._whole else 1e-5 * math.exp(min(float(self.knots[-1] + 2 * self.slope), 80))

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b"]]]) -> None:
        values = torch.cat(list(batches())).double()
        if self._whole:
            places = (torch.arange(SPREAD, dtype=torch.float64, device=values.device) + 0.5) / SPREAD - 0.5
            values = (values[:, None] + places).flatten()
        else:
            above = values[values > 0]
            self.offset.fill_(float(above.min()) / 2 if len(above) else 1.0)
        logs = torch.log(values + self.offset)
        mean, self.slope = self._normal(logs, below=(values <= self._low) & (self._low > 0), above=values >= self._high)
        scores = self._scores().to(logs.device)
        line = mean + self.slope * scores
        self.knots = line if self._scale == "log" else torch.quantile(logs, torch.special.ndtr(scores))

    @staticmethod
    def _normal(logs: Tensor, *, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of normal numbers, of which some are censored, by EM."""
        mean, sd = logs.mean(), logs.std(unbiased=False)
        for _ in range(50 if bool((below | above).any()) else 0):
            score = (logs - mean) / torch.where(sd > 0, sd, 1.0)
            low, high = torch.where(below, -FAR, score), torch.where(above, FAR, score)
            expected, spread = truncated(low, high)
            mean = mean + sd * expected.mean()
            sd = sd * (expected.var(unbiased=False) + spread.square().mean()).sqrt()
        return mean, torch.where(sd > 0, sd, 1.0)

    def _score(self, x: Float64[Tensor, "b"], *, right: bool) -> Float64[Tensor, "b"]:
        """Return the lowest score, or the highest, that decodes to a number: g^-1(log(x + offset))."""
        y = torch.log((x + self.offset).clamp_min(1e-300))
        after = torch.searchsorted(self.knots, y.detach(), right=right)
        before = (after - 1).clamp(0, KNOTS - 2)
        gap = self.knots[before + 1] - self.knots[before]
        step = 2 * REACH / (KNOTS - 1)
        inside = step * (before + (y - self.knots[before]) / torch.where(gap > 0, gap, 1.0)) - REACH
        below, above = (y - self.knots[0]) / self.slope - REACH, (y - self.knots[-1]) / self.slope + REACH
        return torch.where(after == 0, below, torch.where(after == KNOTS, above, inside))

    def encode(self, x: Float[Tensor, "b"]) -> Encoded:
        x, half = x.double(), 0.5 if self._whole else 0.0
        low = torch.where(x <= self._low, -FAR, self._score(x - half, right=False))
        high = torch.where(x >= self._high, FAR, self._score(x + half, right=True))
        mean, sd = truncated(low, torch.maximum(low, high))
        return Encoded(mean.float()[:, None], sd.float()[:, None])

    def decode(self, z: Code) -> Float[Tensor, "b"]:
        place = (z[:, 0].double() + REACH) / (2 * REACH) * (KNOTS - 1)
        before = place.floor().clamp(0, KNOTS - 2).long()
        y = torch.lerp(self.knots[before], self.knots[before + 1], (place - before).clamp(0, 1))
        y = y + self.slope * (z[:, 0].double().abs() - REACH).clamp_min(0) * z[:, 0].sign()
        x = torch.exp(y.clamp_max(80)) - self.offset
        return (x.round() if self._whole else x).clamp(self._low, self._high).float()


class CountCodecSpec(AbstractCodecSpec):
    """Normal scores of non-negative numbers among the training rows."""

    support: ClassVar[str] = "real"

    type: Literal["count"] = "count"
    whole: bool = Field(True, description="whole numbers only")
    scale: Literal["quantile", "log"] = Field(
        "quantile", description="'quantile': rank among the training rows; 'log': standardised logarithm"
    )
    limits: tuple[float | None, float | None] = Field(
        (None, None), description="censoring limits [low, high], in the variable's unit"
    )

    def build(self, data_shape: tuple[int, ...]) -> CountCodec:
        return CountCodec(whole=self.whole, scale=self.scale, limits=self.limits)
