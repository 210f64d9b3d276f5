"""Calibration: coverage of central intervals, and reliability of predicted probabilities."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Nominal coverages of central intervals."""

BINS = 8
"""Bins of a reliability curve, with equally many rows each."""


class Curve(NamedTuple):
    """Predicted and observed frequencies, with Wilson's 95 % interval of the observed ones."""

    predicted: Float64[np.ndarray, "m"]
    observed: Float64[np.ndarray, "m"]
    low: Float64[np.ndarray, "m"]
    high: Float64[np.ndarray, "m"]


def coverage(draws: Float64[np.ndarray, "n k"], truth: Float64[np.ndarray, "n"]) -> Curve:
    """Share of true values within the central intervals of their rows' draws (Weibull's plotting positions).

    Where truth and draws are exchangeable, coverage is nominal for any number of draws k, as long as the interval's
    bounds lie within the draws: levels beyond 1 - 2 / (k + 1) are left out.
    """
    known = np.isfinite(truth)
    draws, truth = draws[known], truth[known]
    levels = np.array([level for level in LEVELS if level <= 1 - 2 / (draws.shape[1] + 1) + 1e-9])
    low, high = (np.quantile(draws, q, axis=1, method="weibull") for q in ((1 - levels) / 2, (1 + levels) / 2))
    return _with_interval(levels, ((low <= truth) & (truth <= high)).mean(1), np.full(len(levels), len(truth)))


def reliability(p: Float64[np.ndarray, "n"], outcomes: Int64[np.ndarray, "n"]) -> Curve:
    """Mean predicted probability and observed frequency in bins of equally many rows, in increasing order."""
    order = np.argsort(p, kind="stable")
    bins = [rows for rows in np.array_split(order, min(BINS, max(1, len(p) // 5))) if len(rows)]
    predicted = np.array([p[rows].mean() for rows in bins])
    observed = np.array([outcomes[rows].mean() for rows in bins])
    return _with_interval(predicted, observed, np.array([len(rows) for rows in bins]))


def calibration_error(curve: Curve) -> float:
    """Mean absolute difference of predicted and observed frequencies (of reliability: expected calibration error)."""
    return float(np.abs(curve.predicted - curve.observed).mean()) if len(curve.predicted) else float("nan")


def _with_interval(
    predicted: Float64[np.ndarray, "m"], observed: Float64[np.ndarray, "m"], rows: Int64[np.ndarray, "m"]
) -> Curve:
    """Add Wilson's 95 % interval of each observed frequency."""
    z = 1.96
    scale = 1 + z**2 / rows
    centre = (observed + z**2 / (2 * rows)) / scale
    half = z * np.sqrt(observed * (1 - observed) / rows + z**2 / (4 * rows**2)) / scale
    return Curve(predicted, observed, centre - half, centre + half)
