"""Distances to the nearest training row, to detect memorisation by generated rows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy import stats

from metavoxel.evaluation.metrics.similarity import Copying
from metavoxel.evaluation.rows import Rows

AT_ONCE = 20_000_000
"""Distances in memory at once."""

SAME = 1e-6
"""Distance below which two rows are equal; the least difference of ranks is larger."""


class Nearness(NamedTuple):
    """Distances of generated and of held-out rows to the nearest training row.

    Attributes:
        generated, held_out: median distances, in standard deviations per variable.
        nearer: probability that a generated row is nearer to its nearest training row than a held-out row is, ties
            counted half; .5 without copying.
        error: standard error of ``nearer``.
        closest: share of generated rows with a distance below the 5 % quantile of held-out rows.
        alike: the same share for the ratio of the distances to the nearest and the second nearest subject.
        same: share of generated rows equal to a training row in every cell; ``held_out_same`` that of held-out rows.
    """

    generated: float
    held_out: float
    nearer: float
    error: float
    closest: float
    alike: float
    same: float
    held_out_same: float


class _Training(NamedTuple):
    """Training rows by subject: features, known cells by feature and by variable, variables of features, first rows."""

    features: Float64[np.ndarray, "t f"]
    wide: Float64[np.ndarray, "t f"]
    known: Float64[np.ndarray, "t v"]
    place: Int64[np.ndarray, "f"]
    starts: Int64[np.ndarray, "s"]


def nearest_rows(rows: Rows, training: Rows) -> Copying:
    """Distance of each row to the nearest training row, and its ratio to the distance to the second nearest subject.

    The distance is the root mean square over variables known in both rows. Numbers enter by their quantile among the
    training rows, in standard deviations, so that units and outliers do not matter. Two different labels count as much
    as two random numbers.
    """
    order = np.argsort(training.owners, kind="stable")
    training = training.take(order)
    features, place = _vectors(training, training)
    known = training.known.astype(np.float64)
    starts = np.flatnonzero(np.diff(training.owners, prepend=-1))
    reference = _Training(features, known[:, place], known, place, starts)
    a, present = _vectors(rows, training)[0], rows.known.astype(np.float64)
    step = max(1, AT_ONCE // max(1, len(training)))
    found = [_least_two(a[i : i + step], present[i : i + step], reference) for i in range(0, len(a), step)]
    best = np.concatenate(found) if found else np.zeros((0, 2))
    ratio = np.divide(best[:, 0], best[:, 1], out=np.ones(len(best)), where=np.isfinite(best[:, 1]) & (best[:, 1] > 0))
    return Copying(best[:, 0], ratio)


def nearness(generated: Copying, held_out: Copying) -> Nearness:
    """Compare the distances of generated rows with those of held-out rows."""
    a, b = generated.distance, held_out.distance
    test = stats.mannwhitneyu(a, b)
    nearer = 1 - float(test.statistic) / (len(a) * len(b))
    return Nearness(
        float(np.median(a)),
        float(np.median(b)),
        nearer,
        _area_error(nearer, len(a), len(b)),
        float(np.mean(a < np.quantile(b, 0.05))),
        float(np.mean(generated.ratio < np.quantile(held_out.ratio, 0.05))),
        float(np.mean(a < SAME)),
        float(np.mean(b < SAME)),
    )


def _area_error(area: float, first: int, second: int) -> float:
    """Standard error of an area under the ROC curve (Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (first - 1) * (q1 - area**2) + (second - 1) * (q2 - area**2)
    return float(np.sqrt(max(variance, 0.0) / (first * second)))


def _vectors(rows: Rows, training: Rows) -> tuple[Float64[np.ndarray, "n f"], Int64[np.ndarray, "f"]]:
    """Features whose squared differences sum to the squared distance, 0 where missing, and the variable of each."""
    parts, owners = [], []
    for place, name in enumerate(rows.names):
        values, reference = rows.values[:, place], training.values[:, place]
        if name in rows.classes:
            part = values[:, None] == np.arange(len(rows.classes[name]))
            parts.append(part.astype(np.float64))
            owners += [place] * part.shape[1]
            continue
        reference = np.sort(reference[np.isfinite(reference)])
        low, high = (np.searchsorted(reference, values, side=side) for side in ("left", "right"))
        share = (low + high) / (2 * max(1, len(reference)))
        parts.append(np.where(np.isfinite(values), np.sqrt(12) * share, 0.0)[:, None])
        owners.append(place)
    return np.concatenate(parts, 1), np.array(owners, np.int64)


def _least_two(
    a: Float64[np.ndarray, "n f"], present: Float64[np.ndarray, "n v"], training: "_Training"
) -> Float64[np.ndarray, "n 2"]:
    """Distances to the two nearest training subjects, each by its nearest row; infinite where there is none."""
    wide = present[:, training.place]
    square = (a**2) @ training.wide.T + wide @ (training.features**2).T - 2 * a @ training.features.T
    shared = present @ training.known.T
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(shared > 0, np.sqrt(square.clip(0) / shared), np.inf)
    apart = np.minimum.reduceat(apart, training.starts, axis=1)
    if apart.shape[1] == 1:
        return np.concatenate([apart, np.full_like(apart, np.inf)], 1)
    return np.partition(apart, 1, axis=1)[:, :2]
