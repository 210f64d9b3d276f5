"""Ranks of true values among draws, tests of their uniformity, and the CRPS."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy import stats

BINS = 10
"""Bins of the histogram of transforms; fewer where the expected count would be below ``ROWS_PER_BIN``."""

ROWS_PER_BIN = 5

STREAM = 0x7A9C
"""Second word of the seed: separates the randomised ranks from other draws with the same seed."""

COMPONENTS = ("centre", "spread", "skew", "peaks")
"""Property of the distribution detected by each component of Neyman's smooth test."""


class Histogram(NamedTuple):
    """Histogram over equal bins of [0, 1], with a band for uniform distributions.

    Attributes:
        counts: rows of each bin.
        low, high: bounds of the simultaneous 95 % band of a uniform distribution's counts.
    """

    counts: Int64[np.ndarray, "m"]
    low: float
    high: float


def transforms(
    draws: Float64[np.ndarray, "n k"], truth: Float64[np.ndarray, "n"], *, seed: int = 0
) -> Float64[np.ndarray, "n"]:
    """Randomised probability integral transform of each true value by the row's draws (Czado et al. 2009).

    The rank of the truth among its k draws, randomised over its share of [0, 1]: (below + u (equal + 1)) / (k + 1) with
    a uniform u. It is uniform whenever the truth is exchangeable with the draws, for any k and any ties, so discrete
    values need no special treatment. NaN where the truth is missing.
    """
    u = np.random.default_rng([seed, STREAM]).uniform(size=len(truth))
    below = (draws < truth[:, None]).sum(1)
    equal = (draws == truth[:, None]).sum(1)
    return np.where(np.isfinite(truth), (below + u * (equal + 1)) / (draws.shape[1] + 1), np.nan)


def components(u: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n 4"]:
    """Normalised Legendre polynomials of degree 1 to 4, of mean 0 and variance 1 under a uniform u (Neyman 1937).

    A positive mean of the first indicates draws that are too low; of the second, too little spread (transforms near 0
    and 1); of the third and fourth, a wrong shape.
    """
    x = 2 * u - 1
    legendre = (x, (3 * x**2 - 1) / 2, (5 * x**3 - 3 * x) / 2, (35 * x**4 - 30 * x**2 + 3) / 8)
    return np.stack([np.sqrt(2 * degree + 1) * value for degree, value in enumerate(legendre, start=1)], 1)


def histogram(u: Float64[np.ndarray, "n"], bins: int) -> Histogram:
    """Counts in equal bins, with a simultaneous band by Bonferroni's bound."""
    u = u[np.isfinite(u)]
    counts = np.bincount(np.minimum((u * bins).astype(np.int64), bins - 1), minlength=bins)
    low, high = stats.binom.ppf([0.025 / bins, 1 - 0.025 / bins], len(u), 1 / bins)
    return Histogram(counts, float(low), float(high))


def bins_for(rows: int, most: int = BINS) -> int:
    """Number of bins for ``rows`` rows: ``ROWS_PER_BIN`` expected in each, at least two bins."""
    return max(2, min(most, rows // ROWS_PER_BIN))


def crps(draws: Float64[np.ndarray, "n k"], truth: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Continuous ranked probability score of each row, in the unit of the draws; smaller is better.

    mean |x - y| minus half the mean |x - x'| over pairs of different draws: the fair estimator (Ferro 2014), whose
    expectation does not depend on the number of draws. For one draw it is the absolute error.
    """
    k = draws.shape[1]
    error = np.abs(draws - truth[:, None]).mean(1)
    if k < 2:
        return error
    weights = 2 * np.arange(k) - k + 1
    return error - (np.sort(draws, 1) * weights).sum(1) / (k * (k - 1))
