"""Classifier two-sample test: how well a random forest tells two samples apart (Lopez-Paz and Oquab 2017)."""

import numpy as np
from jaxtyping import Float64
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold, cross_val_score


def c2st(
    first: Float64[np.ndarray, "n d"],
    second: Float64[np.ndarray, "n d"],
    *,
    seed: int = 0,
    trees: int = 100,
    folds: int = 5,
) -> float:
    """Cross-validated accuracy of a random forest: .5 for samples of one distribution, 1 for samples far apart.

    As in the ``sbi`` package with ``classifier="rf"``, which the published figures come from: columns standardised by
    the first sample, shuffled folds, accuracy. A row of one sample must not stand in the other as well: its twin in the
    training folds would teach the forest the wrong label.
    """
    centre, scale = first.mean(0), first.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    rows = (np.concatenate([first, second]) - centre) / scale
    labels = np.repeat([0, 1], [len(first), len(second)])
    forest = RandomForestClassifier(trees, random_state=seed)
    splits = KFold(folds, shuffle=True, random_state=seed)
    return float(cross_val_score(forest, rows, labels, cv=splits, scoring="accuracy").mean())
