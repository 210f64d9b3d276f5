"""Ranks of true values among draws: whether they are uniform, as those of one more draw would be, and the CRPS."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy import stats

BINS = 10
"""Of the histogram of transforms; fewer where a bin would hold less than ``ROWS_A_BIN`` rows."""

ROWS_A_BIN = 5

STREAM = 0x7A9C
"""Keeps the randomised ranks apart from whatever else was drawn from the same seed, such as a simulated cohort."""

COMPONENTS = ("centre", "spread", "skew", "peaks")
"""What each component of Neyman's smooth test sees."""


class Histogram(NamedTuple):
    """Rows in equal bins of [0, 1], and the counts between which a uniform distribution keeps all bins.

    Attributes:
        counts: rows of each bin.
        low, high: of the simultaneous 95 % band: a uniform distribution leaves it in one of twenty histograms.
    """

    counts: Int64[np.ndarray, "m"]
    low: float
    high: float


def transforms(
    draws: Float64[np.ndarray, "n k"], truth: Float64[np.ndarray, "n"], *, seed: int = 0
) -> Float64[np.ndarray, "n"]:
    """Randomised probability integral transform of each true value by the row's draws (Czado et al. 2009).

    The rank of the truth among its k draws, spread over its share of [0, 1]: (below + u (equal + 1)) / (k + 1) with a
    uniform u. It is uniform whenever the truth is exchangeable with the draws, for any k and with any ties, so discrete
    values need no other treatment. NaN where there is no truth.
    """
    u = np.random.default_rng([seed, STREAM]).uniform(size=len(truth))
    below = (draws < truth[:, None]).sum(1)
    equal = (draws == truth[:, None]).sum(1)
    return np.where(np.isfinite(truth), (below + u * (equal + 1)) / (draws.shape[1] + 1), np.nan)


def components(u: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n 4"]:
    """Normalised Legendre polynomials of degree 1 to 4, of mean 0 and variance 1 under a uniform u (Neyman 1937).

    Means above 0: the first, draws lie too low; the second, their spread is too small (the transforms pile up at both
    ends); the third and fourth, the shape is wrong.
    """
    x = 2 * u - 1
    legendre = (x, (3 * x**2 - 1) / 2, (5 * x**3 - 3 * x) / 2, (35 * x**4 - 30 * x**2 + 3) / 8)
    return np.stack([np.sqrt(2 * degree + 1) * value for degree, value in enumerate(legendre, start=1)], 1)


def histogram(u: Float64[np.ndarray, "n"], bins: int) -> Histogram:
    """Counts in equal bins, with the band that Bonferroni's bound gives all of them together."""
    u = u[np.isfinite(u)]
    counts = np.bincount(np.minimum((u * bins).astype(np.int64), bins - 1), minlength=bins)
    low, high = stats.binom.ppf([0.025 / bins, 1 - 0.025 / bins], len(u), 1 / bins)
    return Histogram(counts, float(low), float(high))


def bins_for(rows: int, most: int = BINS) -> int:
    """As many bins as so many rows fill, at least two."""
    return max(2, min(most, rows // ROWS_A_BIN))


def crps(draws: Float64[np.ndarray, "n k"], truth: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Continuous ranked probability score of each row, in the unit of the draws; smaller is better.

    mean |x - y| less half the mean |x - x'| over pairs of different draws: the fair estimator (Ferro 2014), whose mean
    does not depend on the number of draws. Of one draw it is the absolute error.
    """
    k = draws.shape[1]
    error = np.abs(draws - truth[:, None]).mean(1)
    if k < 2:
        return error
    weights = 2 * np.arange(k) - k + 1
    return error - (np.sort(draws, 1) * weights).sum(1) / (k * (k - 1))
