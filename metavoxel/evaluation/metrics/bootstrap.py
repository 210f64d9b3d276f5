"""Errors of predictions, with intervals."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64


class Estimate(NamedTuple):
    """A figure over subjects and its bootstrap 95 % interval; NaN ends where resampling cannot tell one."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f}" + (f" [{self.low:.2f}, {self.high:.2f}]" if np.isfinite(self.low) else "")


ROUNDS = 2000
"""Resamplings of a mean."""

FEWEST_SUBJECTS = 5
"""Of fewer subjects no interval is given: resamplings of so few are too much alike, and of one all the same."""


def bootstrap_mean(
    errors: Float64[np.ndarray, "n"],
    *,
    subjects: Sequence[object] | None = None,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> Estimate:
    """Mean of one figure a row, and the interval that resampling subjects gives it (percentiles).

    Args:
        errors: one figure a row.
        subjects: whose rows they are: all rows of a subject are drawn together. By default every row is a subject.
        seed: of the resampling.
        rounds: resamplings.
    """
    errors = np.asarray(errors, np.float64)
    members = clusters(subjects if subjects is not None else range(len(errors)))
    sums = np.bincount(members, errors)
    counts = np.bincount(members).astype(np.float64)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(sums), (rounds, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return Estimate(float(errors.mean()), *_ends(means, len(sums)))


def bootstrap(
    figure: Callable[[Int64[np.ndarray, "m"]], float],
    rows: int,
    *,
    subjects: Sequence[object] | None = None,
    seed: int = 0,
    rounds: int = 500,
) -> Estimate:
    """Any figure of a set of rows, and the interval that resampling subjects gives it (percentiles).

    Args:
        figure: of the rows with these numbers, which may come several times; NaN where it has no value.
        rows: how many there are.
        subjects, seed: as for :func:`bootstrap_mean`.
        rounds: resamplings; those without a value are left out.
    """
    members = clusters(subjects if subjects is not None else range(rows))
    own = [np.flatnonzero(members == member) for member in range(members.max() + 1)]
    generator = np.random.default_rng(seed)
    draws = (generator.integers(0, len(own), len(own)) for _ in range(rounds))
    found = np.array([figure(np.concatenate([own[member] for member in draw])) for draw in draws])
    return Estimate(float(figure(np.arange(rows))), *_ends(found[np.isfinite(found)], len(own)))


def _ends(found: Float64[np.ndarray, "r"], subjects: int) -> tuple[float, float]:
    """Percentiles of the resamplings; none of few subjects, nor where all are alike, as when all answers are right."""
    if subjects < FEWEST_SUBJECTS or not len(found) or np.ptp(found) < 1e-12:
        return np.nan, np.nan
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def clusters(subjects: Sequence[object]) -> Int64[np.ndarray, "n"]:
    """A number for each row that its subject's rows share, counted from 0."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(subject, len(numbers)) for subject in subjects], np.int64)
