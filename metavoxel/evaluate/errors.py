"""Errors of predictions, with intervals."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Estimate(NamedTuple):
    """A mean over subjects and its bootstrap 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap_mean(errors: Float64[np.ndarray, "n"], *, seed: int = 0, rounds: int = 2000) -> Estimate:
    """Mean of one figure a subject, and the interval that resampling subjects gives it (percentiles)."""
    errors = np.asarray(errors, np.float64)
    generator = np.random.default_rng(seed)
    means = errors[generator.integers(0, len(errors), (rounds, len(errors)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(errors.mean()), float(low), float(high))
