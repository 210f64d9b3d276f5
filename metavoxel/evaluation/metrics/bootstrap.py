"""Bootstrap confidence intervals over subjects."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64


class Estimate(NamedTuple):
    """A statistic over subjects and its bootstrap 95 % interval; NaN bounds where the interval is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f}" + (f" [{self.low:.2f}, {self.high:.2f}]" if np.isfinite(self.low) else "")


ROUNDS = 2000
"""Bootstrap resamples of a mean."""

FEWEST_SUBJECTS = 5
"""Fewest subjects for an interval: resamples of fewer are too similar."""


def bootstrap_mean(
    errors: Float64[np.ndarray, "n"],
    *,
    subjects: Sequence[object] | None = None,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> Estimate:
    """Mean over rows with its percentile bootstrap interval, resampling subjects.

    Args:
        errors: one value per row.
        subjects: subject of each row; rows of a subject are drawn together. By default every row is its own subject.
        seed: seed of the resampling.
        rounds: number of resamples.
    """
    errors = np.asarray(errors, np.float64)
    members = clusters(subjects if subjects is not None else range(len(errors)))
    sums = np.bincount(members, errors)
    counts = np.bincount(members).astype(np.float64)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(sums), (rounds, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return Estimate(float(errors.mean()), *_bounds(means, len(sums)))


def bootstrap_totals(
    statistics: Float64[np.ndarray, "n k"],
    value: Callable[[Float64[np.ndarray, " k"]], float],
    *,
    subjects: Sequence[object] | None = None,
    seed: int = 0,
    rounds: int = 500,
) -> Estimate:
    """A function of sums over rows with its percentile bootstrap interval, resampling subjects.

    Args:
        statistics: summed numbers of every row.
        value: function of the sums.
        subjects, seed, rounds: as for :func:`bootstrap_mean`.
    """
    members = clusters(subjects if subjects is not None else range(len(statistics)))
    sums = np.zeros((members.max() + 1, statistics.shape[1]))
    np.add.at(sums, members, statistics)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (rounds, len(sums)))
    found = np.array([value(sums[draw].sum(0)) for draw in drawn])
    return Estimate(value(sums.sum(0)), *_bounds(found[np.isfinite(found)], len(sums)))


def bootstrap(
    figure: Callable[[Int64[np.ndarray, "m"]], float],
    rows: int,
    *,
    subjects: Sequence[object] | None = None,
    seed: int = 0,
    rounds: int = 500,
) -> Estimate:
    """Any statistic of a set of rows with its percentile bootstrap interval, resampling subjects.

    Args:
        figure: statistic of the rows with these indices, which may repeat; NaN where undefined.
        rows: number of rows.
        subjects, seed: as for :func:`bootstrap_mean`.
        rounds: number of resamples; those with an undefined statistic are left out.
    """
    members = clusters(subjects if subjects is not None else range(rows))
    own = [np.flatnonzero(members == member) for member in range(members.max() + 1)]
    generator = np.random.default_rng(seed)
    draws = (generator.integers(0, len(own), len(own)) for _ in range(rounds))
    found = np.array([figure(np.concatenate([own[member] for member in draw])) for draw in draws])
    return Estimate(float(figure(np.arange(rows))), *_bounds(found[np.isfinite(found)], len(own)))


def _bounds(found: Float64[np.ndarray, "r"], subjects: int) -> tuple[float, float]:
    """Percentiles of the resamples; NaN for few subjects, or where all resamples are equal."""
    if subjects < FEWEST_SUBJECTS or not len(found) or np.ptp(found) < 1e-12:
        return np.nan, np.nan
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def clusters(subjects: Sequence[object]) -> Int64[np.ndarray, "n"]:
    """Integer id of each row's subject, in order of first appearance."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(subject, len(numbers)) for subject in subjects], np.int64)
