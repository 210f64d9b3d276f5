"""Regressions of the panel: linear with Gaussian residuals, and boosted trees, chosen by cross-validation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import pandas
from jaxtyping import Float64
from numpy.random import Generator
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import KFold

from benchmarks.imputation import Classes
from benchmarks.panel_methods import AbstractLabel, AbstractMethod, AbstractNumber, Design, known
from benchmarks.panel_scores import LEAST_PROBABILITY
from benchmarks.panel_tables import Question, Training

FOLDS = 3
LEVELS = (0.01, 0.025, *np.arange(0.05, 0.96, 0.1).round(3).tolist(), 0.975, 0.99)
"""Levels of the quantiles that boosted trees predict."""
CHOSEN_BY = (0.1, 0.5, 0.9)
"""Quantiles whose pinball loss is cross-validated for the trees' settings."""


@final
class Gaussian(AbstractNumber):
    """Gaussian with a linear mean and constant standard deviation."""

    def __init__(self, design: Design, model: RidgeCV, spread: float) -> None:
        self._design, self._model, self.spread = design, model, spread

    def draws(self, rows: pandas.DataFrame, count: int, random: Generator) -> Float64[np.ndarray, "n k"]:
        return self.means(rows)[:, None] + self.spread * random.normal(0, 1, (len(rows), count))

    def means(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n"]:
        return self._model.predict(self._design(rows))


@final
class Classifier(AbstractLabel):
    """A scikit-learn classifier; classes without training rows have probability 0."""

    def __init__(self, inputs: Callable[[pandas.DataFrame], np.ndarray], model: Any, count: int) -> None:
        self._inputs, self._model, self._count = inputs, model, count

    def probabilities(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n k"]:
        found = np.zeros((len(rows), self._count))
        found[:, self._model.classes_.astype(int)] = self._model.predict_proba(self._inputs(rows))
        return found


@final
class Linear(AbstractMethod):
    """Ridge regression with Gaussian residuals, logistic regression.

    The ridge penalty and the residual standard deviation are by leave-one-out cross-validation.
    """

    name = "linear"

    def fit_number(self, training: Training, question: Question) -> AbstractNumber:
        rows = known(training, question)
        design = Design(rows, question.predictors, training.classes)
        truth = rows[question.target].to_numpy()
        model = RidgeCV(np.logspace(-2, 4, 25), store_cv_results=True).fit(design(rows), truth)
        return Gaussian(design, model, float(np.sqrt(model.cv_results_.mean(0).min())))

    def fit_label(self, training: Training, question: Question) -> AbstractLabel:
        rows = known(training, question)
        design = Design(rows, question.predictors, training.classes)
        labels = rows[question.target].to_numpy()
        best = _best(
            [{"C": strength} for strength in np.logspace(-3, 2, 11)],
            lambda settings, part: LogisticRegression(**settings, max_iter=5000).fit(
                design(rows.iloc[part]), labels[part]
            ),
            lambda model, part: _log_loss(model, design(rows.iloc[part]), labels[part]),
            len(rows),
            training.seed,
        )
        model = LogisticRegression(**best, max_iter=5000).fit(design(rows), labels)
        return Classifier(design, model, training.classes[question.target])


@final
class Quantiles(AbstractNumber):
    """Quantile function that is linear between levels and constant beyond the outermost ones."""

    def __init__(
        self, predictors: Sequence[str], models: Sequence[HistGradientBoostingRegressor], levels: Sequence[float]
    ) -> None:
        self._predictors, self._models, self._levels = list(predictors), models, np.array(levels)

    def _quantiles(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n l"]:
        """Return sorted quantiles, as separate regressions may cross."""
        inputs = rows[self._predictors].to_numpy(float)
        return np.sort(np.stack([model.predict(inputs) for model in self._models], 1), 1)

    def draws(self, rows: pandas.DataFrame, count: int, random: Generator) -> Float64[np.ndarray, "n k"]:
        levels = random.random((len(rows), count))
        found = zip(levels, self._quantiles(rows), strict=True)
        return np.stack([np.interp(level, self._levels, row) for level, row in found])

    def means(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n"]:
        found, gaps = self._quantiles(rows), np.diff(self._levels)
        inner = ((found[:, 1:] + found[:, :-1]) / 2 * gaps).sum(1)
        return inner + self._levels[0] * found[:, 0] + (1 - self._levels[-1]) * found[:, -1]


@final
class Trees(AbstractMethod):
    """Gradient-boosted trees: a regression for each of several quantiles, a classifier.

    Args:
        quick: one setting and few rounds, as a test that everything runs.
    """

    name = "trees"

    def __init__(self, *, quick: bool = False) -> None:
        rounds, leaves = ((10,), (4,)) if quick else ((40, 120), (4, 15))
        self._grid = [
            {"max_iter": most, "max_leaf_nodes": size, "min_samples_leaf": 10, "learning_rate": 0.05}
            for most in rounds
            for size in leaves
        ]
        self._levels = LEVELS[::3] if quick else LEVELS

    def fit_number(self, training: Training, question: Question) -> AbstractNumber:
        rows = known(training, question)
        inputs, truth = rows[list(question.predictors)].to_numpy(float), rows[question.target].to_numpy()
        fixed = _fixed(question.predictors, training.classes, training.seed, len(rows))

        def fitted(settings: Mapping[str, object], level: float, part: np.ndarray) -> HistGradientBoostingRegressor:
            model = HistGradientBoostingRegressor(loss="quantile", quantile=level, **{**settings, **fixed})
            return model.fit(inputs[part], truth[part])

        best = _best(
            self._grid,
            lambda settings, part: [fitted(settings, level, part) for level in CHOSEN_BY],
            lambda models, part: sum(
                mean_pinball_loss(truth[part], model.predict(inputs[part]), alpha=level)
                for model, level in zip(models, CHOSEN_BY, strict=True)
            ),
            len(rows),
            training.seed,
        )
        every = np.arange(len(rows))
        return Quantiles(question.predictors, [fitted(best, level, every) for level in self._levels], self._levels)

    def fit_label(self, training: Training, question: Question) -> AbstractLabel:
        rows, names = known(training, question), list(question.predictors)
        inputs, labels = rows[names].to_numpy(float), rows[question.target].to_numpy()
        fixed = _fixed(question.predictors, training.classes, training.seed, len(rows))

        def fitted(settings: Mapping[str, object], part: np.ndarray) -> HistGradientBoostingClassifier:
            return HistGradientBoostingClassifier(**{**settings, **fixed}).fit(inputs[part], labels[part])

        best = _best(
            self._grid,
            fitted,
            lambda model, part: _log_loss(model, inputs[part], labels[part]),
            len(rows),
            training.seed,
        )
        model = fitted(best, np.arange(len(rows)))
        return Classifier(lambda asked: asked[names].to_numpy(float), model, training.classes[question.target])


def _fixed(predictors: Sequence[str], classes: Classes, seed: int, rows: int) -> dict[str, object]:
    """Return fixed settings of trees; leaves may have a tenth of few rows."""
    found = {"categorical_features": [name in classes for name in predictors], "random_state": seed}
    return found | ({"min_samples_leaf": max(2, rows // 10)} if rows < 100 else {})


def _best(
    grid: Sequence[Mapping[str, object]],
    fit: Callable[[Mapping[str, object], np.ndarray], Any],
    loss: Callable[[Any, np.ndarray], float],
    rows: int,
    seed: int,
) -> Mapping[str, object]:
    """Return the settings of lowest cross-validated loss; no fit if there is only one."""
    if len(grid) == 1:
        return grid[0]
    losses = [
        sum(loss(fit(settings, train), held) * len(held) for train, held in _folds(rows, seed)) for settings in grid
    ]
    return grid[int(np.argmin(losses))]


def _folds(rows: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return KFold(FOLDS, shuffle=True, random_state=seed).split(np.zeros(rows))


def _log_loss(model: Any, inputs: np.ndarray, labels: np.ndarray) -> float:
    chances, found = model.predict_proba(inputs), np.zeros(len(labels))
    for place, label in enumerate(model.classes_):
        found[labels == label] = chances[labels == label, place]
    return float(-np.log(np.maximum(found, LEAST_PROBABILITY)).mean())
