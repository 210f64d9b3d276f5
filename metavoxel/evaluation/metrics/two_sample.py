"""Classifier two-sample test: how well a random forest tells two samples apart (Lopez-Paz and Oquab 2017)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold, StratifiedGroupKFold

TREES, FOLDS = 100, 5


class TwoSample(NamedTuple):
    """Cross-validated accuracy of a classifier of two samples of equal size, and its standard error.

    .5 is a classifier that cannot tell them apart.
    """

    accuracy: float
    error: float


def c2st(
    first: Float64[np.ndarray, "n d"],
    second: Float64[np.ndarray, "n d"],
    *,
    seed: int = 0,
    trees: int = TREES,
    folds: int = FOLDS,
) -> float:
    """Cross-validated accuracy of a random forest: .5 for samples of one distribution, 1 for samples far apart.

    As in the ``sbi`` package with ``classifier="rf"``, which published figures come from: columns standardised by
    the first sample, shuffled folds, accuracy. A row of one sample must not stand in the other as well: its twin in the
    training folds would teach the forest the wrong label.
    """
    centre, scale = first.mean(0), first.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    rows = (np.concatenate([first, second]) - centre) / scale
    labels = np.repeat([0, 1], [len(first), len(second)])
    splits = KFold(folds, shuffle=True, random_state=seed).split(rows)
    forest = RandomForestClassifier(trees, random_state=seed)
    return float(np.mean([right.mean() for _, right in _right(forest, rows, labels, splits)]))


def two_sample(
    first: Float64[np.ndarray, "n d"],
    second: Float64[np.ndarray, "n d"],
    owners: Int64[np.ndarray, "m"],
    *,
    seed: int = 0,
    trees: int = TREES,
    folds: int = FOLDS,
) -> TwoSample:
    """The same test of rows with missing cells (NaN), of which several may be one subject's.

    All rows of a subject are in one fold, and folds have equally many of both samples. The standard error is a
    binomial's, widened for training sets that overlap (Nadeau and Bengio 2003) and for repeated rows of subjects.

    Args:
        first, second: the samples, equally many rows, at least as many subjects each as folds.
        owners: the subject of each row, those of the first sample first.
        seed: of folds and forest.
        trees: of the forest.
        folds: of the cross-validation.
    """
    rows = np.concatenate([first, second])
    labels = np.repeat([0, 1], [len(first), len(second)])
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(rows, labels, owners)
    forest = RandomForestClassifier(trees, random_state=seed)
    hits = np.zeros(len(rows))
    for tested, right in _right(forest, rows, labels, splits):
        hits[tested] = right
    accuracy = float(hits.mean())
    # The prior keeps the error of an accuracy of 1 above 0.
    spread = (hits.sum() + 1) / (len(hits) + 2)
    binomial = spread * (1 - spread) * len(hits)
    together = (np.bincount(owners, hits - accuracy) ** 2).sum() if len(np.unique(owners)) < len(owners) else 0.0
    overlap = 1 + folds / (folds - 1)
    return TwoSample(accuracy, float(np.sqrt(overlap * max(binomial, together)) / len(hits)))


def _right(
    forest: RandomForestClassifier, rows: Float64[np.ndarray, "m d"], labels: Int64[np.ndarray, "m"], splits: Iterator
) -> Iterator[tuple[Int64[np.ndarray, "t"], Bool[np.ndarray, "t"]]]:
    """The tested rows of each fold, and which of them a forest that was trained on the others labels rightly."""
    for trained, tested in splits:
        fitted = clone(forest).fit(rows[trained], labels[trained])
        yield tested, fitted.predict(rows[tested]) == labels[tested]
