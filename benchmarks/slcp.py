"""SLCP: simple likelihood, complex posterior (Papamakarios et al. 2019), with exact conditionals of every subset."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from benchmarks.simulators import AbstractTask, Evidence, Values, named

MEAN, SPREAD = ("theta1", "theta2"), ("theta3", "theta4", "theta5")
POINTS = tuple((f"x{2 * index + 1}", f"x{2 * index + 2}") for index in range(4))
BOX = 3.0


class Spread(NamedTuple):
    """Standard deviations of the two coordinates, and their correlation."""

    first: Float64[np.ndarray, "n"]
    second: Float64[np.ndarray, "n"]
    correlation: Float64[np.ndarray, "n"]


def spread_of(theta: Float64[np.ndarray, "3 n"]) -> Spread:
    """Return it from theta3, theta4 and theta5."""
    return Spread(theta[0] ** 2, theta[1] ** 2, np.tanh(theta[2]))


class MeanLikelihood(NamedTuple):
    """Likelihood of the mean m given points, exp(-m'Pm/2 + w'm - c); one entry per proposal."""

    precision: tuple[np.ndarray, np.ndarray, np.ndarray]
    weighted: tuple[np.ndarray, np.ndarray]
    cost: np.ndarray


def mean_likelihood(spread: Spread, given: Evidence) -> MeanLikelihood:
    """Return the likelihood of the given coordinates as a function of the mean."""
    first, second, correlation = spread
    rest = 1 - correlation**2
    points = [tuple(given.get(name) for name in names) for names in POINTS]
    pairs = np.array([pair for pair in points if None not in pair], float).reshape(-1, 2)
    a, b, c = 1 / (rest * first**2), 1 / (rest * second**2), -correlation / (rest * first * second)
    (x, y), (xx, xy, yy) = pairs.sum(0), (pairs[:, [0, 0, 1]] * pairs[:, [0, 1, 1]]).sum(0)
    one, two, both = len(pairs) * a, len(pairs) * b, len(pairs) * c
    left, right = a * x + c * y, b * y + c * x
    cost = (a * xx + 2 * c * xy + b * yy) / 2 + len(pairs) * (np.log(first * second) + np.log(rest) / 2)
    lone = np.array([x for x, y in points if x is not None and y is None], float)
    if len(lone):
        one, left = one + len(lone) / first**2, left + lone.sum() / first**2
        cost = cost + (lone**2).sum() / first**2 / 2 + len(lone) * np.log(first)
    lone = np.array([y for x, y in points if x is None and y is not None], float)
    if len(lone):
        two, right = two + len(lone) / second**2, right + lone.sum() / second**2
        cost = cost + (lone**2).sum() / second**2 / 2 + len(lone) * np.log(second)
    return MeanLikelihood((one, both, two), (left, right), cost)


class MeanConditional(NamedTuple):
    """Conditional distribution of the unknown part of the mean, without its box."""

    mean: tuple[np.ndarray, np.ndarray]
    factor: tuple[np.ndarray, np.ndarray, np.ndarray]
    log_evidence: np.ndarray


def mean_conditional(spread: Spread, given: Evidence) -> MeanConditional:
    """Return it for a flat prior. A coordinate without data has an infinite factor, and is uniform in its box."""
    # Coordinates relative to the mean of the data, as the smallest spreads would be below rounding errors otherwise
    middle = [np.mean([given[names[axis]] for names in POINTS if names[axis] in given] or [0.0]) for axis in (0, 1)]
    given = {name: value - middle[_axis(name)] for name, value in given.items() if name not in SPREAD}
    (one, both, two), (left, right), cost = mean_likelihood(spread, given)
    zero = np.zeros_like(cost)
    log_evidence = -cost
    known = [given.get(name) for name in MEAN]
    if known[0] is not None:
        log_evidence = log_evidence + left * known[0] - one * known[0] ** 2 / 2
        right = right - both * known[0]
    if known[1] is not None:
        log_evidence = log_evidence + right * known[1] - two * known[1] ** 2 / 2
        left = left - both * known[1]
    informed = [known[0] is None and bool((one > 0).all()), known[1] is None and bool((two > 0).all())]
    first = np.full_like(zero, known[0] or 0.0)
    second = np.full_like(zero, known[1] or 0.0)
    spread_1 = np.full_like(zero, 0.0 if known[0] is not None else math.inf)
    spread_2 = np.full_like(zero, 0.0 if known[1] is not None else math.inf)
    link = zero
    if all(
        informed
    ):  # precision of the first given the second is ``one``; of the second alone, the Schur complement of ``one``
        rest = two - both**2 / one
        second, spread_2 = (right - both / one * left) / rest, 1 / np.sqrt(rest)
        log_evidence = log_evidence + left**2 / one / 2 + second**2 * rest / 2 - np.log(one * rest) / 2
        first, spread_1, link = left / one, 1 / np.sqrt(one), -both / one
    elif informed[0]:
        first, spread_1 = left / one, 1 / np.sqrt(one)
        log_evidence = log_evidence + left**2 / one / 2 - np.log(one) / 2
    elif informed[1]:
        second, spread_2 = right / two, 1 / np.sqrt(two)
        log_evidence = log_evidence + right**2 / two / 2 - np.log(two) / 2
    return MeanConditional(
        (first + middle[0] - link * middle[1], second + middle[1]), (spread_1, spread_2, link), log_evidence
    )


def _axis(name: str) -> int:
    """Return the coordinate of a datum or of a part of the mean."""
    return 1 - int(name.removeprefix("theta").removeprefix("x")) % 2


class SLCP(AbstractTask):
    """Four points of a bivariate normal, five parameters of it. Final.

    Mean (theta1, theta2), standard deviations theta3^2 and theta4^2, correlation tanh(theta5); prior uniform in
    [-3, 3]^5.
    """

    name, parameters, data, any_given = "slcp", named("theta", 5), named("x", 8), True
    factors = (
        (*parameters, *data[0:2]),
        (*parameters, *data[2:4]),
        (*parameters, *data[4:6]),
        (*parameters, *data[6:8]),
    )
    wholes = POINTS
    box = BOX
    proposals = 200_000
    negligible = 18.0
    """Log-likelihood below the peak from which on parameters are not proposed."""

    def simulate(self, rng: np.random.Generator, rows: int) -> Values:
        theta = rng.uniform(-BOX, BOX, (5, rows))
        return dict(zip(self.parameters, theta, strict=True)) | self._points(rng, theta, {})

    def _reference(self, rng: np.random.Generator, given: Evidence, rows: int) -> Values:
        """Draw the spread by rejection under the marginal likelihood, then the mean, then the points."""
        asked = [place for place, name in enumerate(SPREAD) if name not in given]
        low, high = np.zeros(3), np.full(3, BOX)
        peak = -math.inf
        if asked:
            pilot = self._propose(rng, given, low, high)
            log_weight = mean_conditional(spread_of(pilot), given).log_evidence
            peak = float(log_weight.max())
            likely = np.abs(pilot[:, log_weight > peak - self.negligible])
            low, high = 0.9 * likely.min(1), np.minimum(1.1 * likely.max(1), BOX)
            low[2] = 0.0
        found = np.empty((5, 0))
        while found.shape[1] < rows:
            spread = self._propose(rng, given, low, high)
            conditional = mean_conditional(spread_of(spread), given)
            if asked:
                if (
                    higher := float(conditional.log_evidence.max())
                ) > peak:  # draws accepted with a lower peak are discarded
                    peak, found = higher, np.empty((5, 0))
                kept = np.log(rng.random(spread.shape[1])) < conditional.log_evidence - peak
                spread, conditional = spread[:, kept], MeanConditional(
                    (conditional.mean[0][kept], conditional.mean[1][kept]),
                    (conditional.factor[0][kept], conditional.factor[1][kept], conditional.factor[2][kept]),
                    conditional.log_evidence[kept],
                )  # fmt: skip
            mean = self._mean(rng, conditional)
            inside = (np.abs(mean) <= BOX).all(0)
            found = np.concatenate([found, np.concatenate([mean, spread])[:, inside]], 1)
        theta = found[:, :rows]
        drawn = dict(zip(self.parameters, theta, strict=True)) | self._points(rng, theta, given)
        return {name: drawn[name] for name in self.names if name not in given}

    def _propose(
        self, rng: np.random.Generator, given: Evidence, low: np.ndarray, high: np.ndarray
    ) -> Float64[np.ndarray, "3 n"]:
        """Propose theta3 to theta5 with uniform absolute values between bounds and random signs, except given ones."""
        size = rng.uniform(low[:, None], high[:, None], (3, self.proposals))
        theta = size * rng.choice([-1.0, 1.0], (3, self.proposals))
        for place, name in enumerate(SPREAD):
            if name in given:
                theta[place] = given[name]
        return theta

    @staticmethod
    def _mean(rng: np.random.Generator, conditional: MeanConditional) -> Float64[np.ndarray, "2 n"]:
        """Draw theta1 and theta2, uniform in the box without data."""
        (first, second), (spread_1, spread_2, link) = conditional.mean, conditional.factor
        noise, flat = rng.normal(size=(2, len(first))), rng.uniform(-BOX, BOX, (2, len(first)))
        free_1, free_2 = np.isinf(spread_1), np.isinf(spread_2)
        second = np.where(free_2, flat[1], second + np.where(free_2, 0.0, spread_2) * noise[1])
        first = first + link * second + np.where(free_1, 0.0, spread_1) * noise[0]
        return np.stack([np.where(free_1, flat[0], first), second])

    @staticmethod
    def _points(rng: np.random.Generator, theta: Float64[np.ndarray, "5 n"], given: Mapping[str, float]) -> Values:
        """Draw data given all parameters and the known coordinates of each point."""
        first, second, correlation = spread_of(theta[2:])
        rest = np.sqrt(1 - correlation**2)
        drawn: Values = {}
        for names in POINTS:
            noise = rng.normal(size=(2, theta.shape[1]))
            if names[0] in given:
                x = np.full(theta.shape[1], given[names[0]])
            elif names[1] in given:
                away = (given[names[1]] - theta[1]) / second
                x = theta[0] + first * (correlation * away + rest * noise[0])
            else:
                x = theta[0] + first * noise[0]
            y = theta[1] + second * (correlation * (x - theta[0]) / first + rest * noise[1])
            drawn |= dict(zip(names, (x, y), strict=True))
        return drawn
