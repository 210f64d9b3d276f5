"""Classifier two-sample test (C2ST) with a random forest (Lopez-Paz and Oquab 2017)."""

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

    An accuracy of .5 is chance.
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

    As in the ``sbi`` package with ``classifier="rf"``, used for published results: columns standardised by the first
    sample, shuffled folds, accuracy. No row may be in both samples: its duplicate in the training folds would have the
    wrong label.
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
    """Two-sample test of rows with missing cells (NaN), possibly several per subject.

    All rows of a subject are in one fold, and folds are stratified by sample. The standard error is binomial, widened
    for overlapping training sets (Nadeau and Bengio 2003) and for repeated rows of subjects.

    Args:
        first, second: the samples, with equally many rows and at least as many subjects each as folds.
        owners: subject id of each row, the first sample's rows first.
        seed: seed of folds and forest.
        trees: number of trees.
        folds: number of cross-validation folds.
    """
    rows = np.concatenate([first, second])
    labels = np.repeat([0, 1], [len(first), len(second)])
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(rows, labels, owners)
    forest = RandomForestClassifier(trees, random_state=seed)
    hits = np.zeros(len(rows))
    for tested, right in _right(forest, rows, labels, splits):
        hits[tested] = right
    accuracy = float(hits.mean())
    # Laplace's rule keeps the standard error above 0 at an accuracy of 1.
    spread = (hits.sum() + 1) / (len(hits) + 2)
    binomial = spread * (1 - spread) * len(hits)
    together = (np.bincount(owners, hits - accuracy) ** 2).sum() if len(np.unique(owners)) < len(owners) else 0.0
    overlap = 1 + folds / (folds - 1)
    return TwoSample(accuracy, float(np.sqrt(overlap * max(binomial, together)) / len(hits)))


def _right(
    forest: RandomForestClassifier, rows: Float64[np.ndarray, "m d"], labels: Int64[np.ndarray, "m"], splits: Iterator
) -> Iterator[tuple[Int64[np.ndarray, "t"], Bool[np.ndarray, "t"]]]:
    """Test rows of each fold, and which of them a forest trained on the other rows classifies correctly."""
    for trained, tested in splits:
        fitted = clone(forest).fit(rows[trained], labels[trained])
        yield tested, fitted.predict(rows[tested]) == labels[tested]
