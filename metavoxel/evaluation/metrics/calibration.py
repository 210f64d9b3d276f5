"""Calibration: whether intervals hold as often as they say, and probabilities come true as often as they say."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Nominal coverages of central intervals."""

BINS = 8
"""Bins of equally many rows, of which a reliability curve has a point each."""


class Curve(NamedTuple):
    """What was said, and how often it came true, with the interval that chance gives at these numbers of rows."""

    said: Float64[np.ndarray, "m"]
    found: Float64[np.ndarray, "m"]
    low: Float64[np.ndarray, "m"]
    high: Float64[np.ndarray, "m"]


def coverage(draws: Float64[np.ndarray, "n k"], truth: Float64[np.ndarray, "n"]) -> Curve:
    """Share of true values within each row's central intervals of its draws (Weibull's plotting positions).

    A true value that is one more draw lies within as often as the interval says, however few draws there are, as long
    as the interval's ends are within the draws: levels beyond 1 - 2 / (k + 1) are left out.
    """
    known = np.isfinite(truth)
    draws, truth = draws[known], truth[known]
    levels = np.array([level for level in LEVELS if level <= 1 - 2 / (draws.shape[1] + 1) + 1e-9])
    low, high = (np.quantile(draws, ends, axis=1, method="weibull") for ends in ((1 - levels) / 2, (1 + levels) / 2))
    return _with_chance(levels, ((low <= truth) & (truth <= high)).mean(1), np.full(len(levels), len(truth)))


def reliability(p: Float64[np.ndarray, "n"], came_true: Int64[np.ndarray, "n"]) -> Curve:
    """Mean probability and frequency in bins of equally many rows, lowest probabilities first."""
    order = np.argsort(p, kind="stable")
    bins = [rows for rows in np.array_split(order, min(BINS, max(1, len(p) // 5))) if len(rows)]
    said = np.array([p[rows].mean() for rows in bins])
    return _with_chance(said, np.array([came_true[rows].mean() for rows in bins]), np.array([len(r) for r in bins]))


def calibration_error(curve: Curve) -> float:
    """Mean distance between what was said and what was found (for reliability: the expected calibration error)."""
    return float(np.abs(curve.said - curve.found).mean()) if len(curve.said) else float("nan")


def _with_chance(
    said: Float64[np.ndarray, "m"], found: Float64[np.ndarray, "m"], rows: Int64[np.ndarray, "m"]
) -> Curve:
    """Wilson's 95 % interval of each frequency."""
    z = 1.96
    scale = 1 + z**2 / rows
    centre = (found + z**2 / (2 * rows)) / scale
    half = z * np.sqrt(found * (1 - found) / rows + z**2 / (4 * rows**2)) / scale
    return Curve(said, found, centre - half, centre + half)
