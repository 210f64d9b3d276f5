"""Methods of the panel that predict the distribution of one variable from others, and the simplest ones."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np
import pandas
from jaxtyping import Float64
from numpy.random import Generator
from sklearn.neighbors import NearestNeighbors

from benchmarks.imputation import Classes
from benchmarks.panel_scores import LEAST_PROBABILITY, crps_of_values
from benchmarks.panel_tables import Question, Training
from benchmarks.panel_worlds import World


class AbstractNumber(ABC):
    """The fitted distribution of a number given predictors."""

    @abstractmethod
    def draws(self, rows: pandas.DataFrame, count: int, random: Generator) -> Float64[np.ndarray, "n k"]:
        """Return independent draws for each row of predictors, in the variable's unit."""

    @abstractmethod
    def means(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n"]:
        """Return the expected value for each row of predictors."""


class AbstractLabel(ABC):
    """The fitted distribution of a category given predictors."""

    @abstractmethod
    def probabilities(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n k"]:
        """Return the probability of every class for each row of predictors."""


class AbstractMethod(ABC):
    """Method that learns conditional distributions from rows.

    Training rows without the target are not used; other cells of training and test rows may be missing.
    """

    name: str

    @abstractmethod
    def fit_number(self, training: Training, question: Question) -> AbstractNumber:
        """Fit the distribution of a number."""

    @abstractmethod
    def fit_label(self, training: Training, question: Question) -> AbstractLabel:
        """Fit the distribution of a category."""


@final
class Design:
    """Predictors as numbers: standardised, missing ones at the mean; categories as indicators, missing ones all 0."""

    def __init__(self, rows: pandas.DataFrame, predictors: Sequence[str], classes: Classes) -> None:
        self.predictors, self.classes = tuple(predictors), classes
        numbers = [name for name in predictors if name not in classes]
        self.mean, spread = rows[numbers].mean(), rows[numbers].std(ddof=0)
        self.spread = spread.where(spread > 0, 1.0)

    def __call__(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n d"]:
        """Return the design matrix of some rows."""
        columns = []
        for name in self.predictors:
            values = rows[name].to_numpy(float)
            if name in self.classes:
                columns.append((values[:, None] == np.arange(self.classes[name])).astype(float))
            else:
                columns.append(np.nan_to_num((values - self.mean[name]) / self.spread[name])[:, None])
        return np.concatenate(columns, 1)


def known(training: Training, question: Question) -> pandas.DataFrame:
    """Return the training rows with the target."""
    return training.rows[training.rows[question.target].notna()].reset_index(drop=True)


def shares(labels: Float64[np.ndarray, "n"], count: int) -> Float64[np.ndarray, "k"]:
    """Return class frequencies with one pseudo-row in equal parts, so that none is 0."""
    found = np.bincount(labels.astype(int), minlength=count) + 1 / count
    return found / found.sum()


@final
class Values(AbstractNumber):
    """Draws from given values, per row or common to all."""

    def __init__(self, design: Design | None, values: Float64[np.ndarray, "n"], nearest: "Nearest | None") -> None:
        self._design, self._values, self._nearest = design, values, nearest

    def _of(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n m"]:
        if self._nearest is None or self._design is None:
            return np.broadcast_to(self._values, (len(rows), len(self._values)))
        return self._values[self._nearest(self._design(rows))]

    def draws(self, rows: pandas.DataFrame, count: int, random: Generator) -> Float64[np.ndarray, "n k"]:
        values = self._of(rows)
        return np.take_along_axis(values, random.integers(0, values.shape[1], (len(rows), count)), 1)

    def means(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n"]:
        return self._of(rows).mean(1)


@final
class Shares(AbstractLabel):
    """Class frequencies among given labels, smoothed by one pseudo-row of the training frequencies."""

    def __init__(
        self, design: Design | None, labels: Float64[np.ndarray, "n"], count: int, nearest: "Nearest | None"
    ) -> None:
        self._design, self._labels, self._nearest = design, labels, nearest
        self._all = shares(labels, count)

    def probabilities(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n k"]:
        if self._nearest is None or self._design is None:
            return np.tile(self._all, (len(rows), 1))
        return smoothed(self._labels[self._nearest(self._design(rows))], self._all)


def smoothed(labels: Float64[np.ndarray, "n m"], prior: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "n k"]:
    """Return the frequencies of each row's labels and one pseudo-label distributed as the prior."""
    counts = (labels[:, :, None] == np.arange(len(prior))).sum(1)
    return (counts + prior) / (labels.shape[1] + 1)


@final
class Nearest:
    """Indices of the nearest training rows, by Euclidean distance."""

    def __init__(self, points: Float64[np.ndarray, "n d"], count: int) -> None:
        self._tree, self.count = NearestNeighbors(n_neighbors=count).fit(points), count

    def __call__(self, points: Float64[np.ndarray, "m d"]) -> np.ndarray:
        return self._tree.kneighbors(points, return_distance=False)


@final
class Marginal(AbstractMethod):
    """The marginal distribution of the training rows."""

    name = "marginal"

    def fit_number(self, training: Training, question: Question) -> AbstractNumber:
        return Values(None, known(training, question)[question.target].to_numpy(), None)

    def fit_label(self, training: Training, question: Question) -> AbstractLabel:
        labels = known(training, question)[question.target].to_numpy()
        return Shares(None, labels, training.classes[question.target], None)


@final
class Neighbours(AbstractMethod):
    """The values of the k nearest training rows, with k by leave-one-out cross-validation."""

    name = "neighbours"
    counts = (3, 5, 10, 20, 40, 80)

    def fit_number(self, training: Training, question: Question) -> AbstractNumber:
        design, points, values, others = self._parts(training, question)
        errors = {k: crps_of_values(values[others[:, :k]], values).mean() for k in self.counts if k < len(values)}
        return Values(design, values, Nearest(points, min(errors, key=lambda k: errors[k])))

    def fit_label(self, training: Training, question: Question) -> AbstractLabel:
        design, points, labels, others = self._parts(training, question)
        count = training.classes[question.target]
        prior = shares(labels, count)
        errors = {}
        for k in (k for k in self.counts if k < len(labels)):
            chance = smoothed(labels[others[:, :k]], prior)[np.arange(len(labels)), labels.astype(int)]
            errors[k] = -np.log(np.maximum(chance, LEAST_PROBABILITY)).mean()
        return Shares(design, labels, count, Nearest(points, min(errors, key=lambda k: errors[k])))

    def _parts(self, training: Training, question: Question) -> tuple[Design, np.ndarray, np.ndarray, np.ndarray]:
        """Return design, training points, values, and for each point the others by increasing distance."""
        rows = known(training, question)
        design = Design(rows, question.predictors, training.classes)
        points = design(rows)
        most = min(max(self.counts), len(rows) - 1)
        found = Nearest(points, most + 1)(points)
        own = found == np.arange(len(rows))[:, None]
        own[~own.any(1), -1] = True  # a point with many duplicates may not be among its own neighbours
        return design, points, rows[question.target].to_numpy(), found[~own].reshape(len(rows), most)


@final
class Exact(AbstractMethod):
    """Draws from the exact conditional distribution of a world; nothing is fitted."""

    name = "exact"

    def __init__(self, world: World) -> None:
        self._world = world

    def fit_number(self, training: Training, question: Question) -> AbstractNumber:
        return ExactNumber(self._world, question.target)

    def fit_label(self, training: Training, question: Question) -> AbstractLabel:
        raise NotImplementedError("worlds have no categories")


@final
class ExactNumber(AbstractNumber):
    """One target of a world; its mean is that of 1,000 draws."""

    def __init__(self, world: World, target: str) -> None:
        self._world, self._target = world, target

    def draws(self, rows: pandas.DataFrame, count: int, random: Generator) -> Float64[np.ndarray, "n k"]:
        return self._world.exact(rows, count, random)[self._target]

    def means(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n"]:
        return self.draws(rows, 1000, np.random.default_rng(1)).mean(1)
