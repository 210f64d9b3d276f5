"""Ridge and logistic regression on principal components, the linear baseline.

Predictors are the scores of images on the leading principal components of the training images, and the other scalars.
Penalty and number of components are chosen by cross-validation within the training rows; the validation rows are not
used. The implementations are those of scikit-learn (Pedregosa et al. 2011).
"""

import time
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from metavoxel.errors import NumericalError, Problem
from metavoxel.evaluation.comparisons.base import AbstractComparison, Done, Job
from metavoxel.evaluation.comparisons.inputs import numbers, pictures
from metavoxel.evaluation.comparisons.stopwatch import Stopwatch
from metavoxel.evaluation.comparisons.study import Study
from metavoxel.runs.progress import Progress
from metavoxel.schema import Schema

COMPONENTS = (8, 16, 32, 64, 128)
"""Candidate numbers of components per image, up to half the number of training rows."""
_PENALTIES, _INVERSE_PENALTIES = np.logspace(-1, 5, 19), np.logspace(-5, 1, 9)
_FOLDS = 5
_MAX_VALUES = 400_000_000
"""Maximum number of voxel values to which a PCA is fitted, to bound memory; larger cohorts are subsampled."""
_BATCH = 16


@final
class LinearComparison(AbstractComparison):
    """Ridge regression of numbers, logistic regression of categories."""

    @property
    def summary(self) -> str:
        return "ridge and logistic regression on principal components"

    def unsuitable(self, schema: Schema) -> str | None:
        return None if len(schema.variables) > 1 else "needs another variable to predict from"

    def jobs(self, study: Study, folder: Path, watch: Stopwatch) -> Iterator[Job]:
        components = _Components(study)
        for target in study.targets:
            yield Job(target, _predict(study, folder, watch, components, target))


@final
class _Components:
    """Principal component scores of every image variable, computed on first access."""

    def __init__(self, study: Study) -> None:
        self._study = study

    @cached_property
    def scores(self) -> dict[str, Float[np.ndarray, "n _"]]:
        """Scores of each image variable for all rows of the cohort; 0, those of the mean image, if missing."""
        return {name: self._of(name) for name in self._study.images}

    def _of(self, name: str) -> Float[np.ndarray, "n k"]:
        study = self._study
        rows, voxels = study.known("train", name), int(np.prod(study.cohort.variables[name].data_shape))
        sampled = min(len(rows), max(2, _MAX_VALUES // voxels))
        chosen = rows[torch.arange(sampled) * len(rows) // sampled]
        count = max(1, min(max(COMPONENTS), sampled // 2, voxels))
        fitted = PCA(count, random_state=0).fit(_flat(study, name, chosen))
        scores = np.zeros((len(study.cohort), count))
        present = study.cohort.columns[name].present.nonzero()[:, 0]
        for start in range(0, len(present), _BATCH):
            batch = present[start : start + _BATCH]
            scores[batch.numpy()] = fitted.transform(_flat(study, name, batch))
        return scores


def _flat(study: Study, name: str, rows: Int64[Tensor, "b"]) -> Float32[np.ndarray, "b v"]:
    return pictures(study, name, rows).flatten(1).numpy()


def _predict(
    study: Study, folder: Path, watch: Stopwatch, components: _Components, target: str
) -> Generator[Progress, None, Done]:
    given = study.others(target)
    with watch.running(target):
        images = list(components.scores.values())
        scalars = numbers(study, given).double().numpy()
        values, rows = study.values(target), study.known("train", target)
        category = study.model.codecs[target].is_label
        truth = values.code[rows].double().numpy()
        best: tuple[float, BaseEstimator, int] | None = None
        counts = _counts(images)
        for index, count in enumerate(counts, 1):
            table = np.hstack([*(scores[:, :count] for scores in images), scalars])[rows.numpy()]
            fitted, score = _classify(target, table, truth) if category else _regress(table, truth)
            if best is None or score > best[0]:
                best = score, fitted, count
            yield Progress(f"linear {target}", index, len(counts), {})
    assert best is not None
    _, fitted, count = best
    start, test = time.perf_counter(), study.rows("test").numpy()
    table = np.hstack([*(scores[:, :count] for scores in images), scalars])[test]
    if category:
        code = np.zeros((len(test), truth.shape[1]))
        code[:, fitted.classes_] = fitted.predict_proba(table)
    else:
        code = np.asarray(fitted.predict(table)).reshape(len(test), -1)
    seconds = (time.perf_counter() - start) / len(test)
    study.write(folder, target, torch.from_numpy(code).float())
    loadings = sum(
        (int(np.prod(study.cohort.variables[name].data_shape)) + 1) * min(count, scores.shape[1])
        for name, scores in components.scores.items()
    )
    return Done({target: given}, 0, loadings + (table.shape[1] + 1) * truth.shape[1], seconds)


def _counts(images: Sequence[Float[np.ndarray, "n _"]]) -> list[int]:
    """Return the candidate numbers of components; a single one without images."""
    most = max((scores.shape[1] for scores in images), default=0)
    return [count for count in COMPONENTS if count < most] + [most]


def _regress(table: Float[np.ndarray, "m f"], truth: Float[np.ndarray, "m c"]) -> tuple[Any, float]:
    """Fit ridge regression with the penalty of least leave-one-out error; return it with the negative error."""
    fitted = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES)).fit(table, truth)
    return fitted, float(fitted[-1].best_score_)


def _classify(target: str, table: Float[np.ndarray, "m f"], truth: Float[np.ndarray, "m c"]) -> tuple[Any, float]:
    """Fit logistic regression with the penalty of least cross-validated log loss; return it with the negative loss.

    Labels of a single training row are excluded and get probability 0.
    """
    labels = truth.argmax(1)
    counts = np.bincount(labels, minlength=truth.shape[1])
    kept = counts[labels] > 1
    if (counts > 1).sum() < 2:
        what = "classification requires at least two labels with two or more training rows"
        raise NumericalError(Problem(f"linear {target}", what))
    folds = StratifiedKFold(int(min(_FOLDS, counts[counts > 1].min())), shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(model, {"logisticregression__C": _INVERSE_PENALTIES}, cv=folds, scoring="neg_log_loss")
    search.fit(table[kept], labels[kept])
    return search.best_estimator_, float(search.best_score_)
