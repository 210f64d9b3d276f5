"""Tables of the panel: rows to train and to test on, and what is asked of them.

A table is a data frame: numbers as floats, categories as whole numbers from 0, NaN where a cell is missing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import pandas
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from benchmarks.imputation import Classes
from benchmarks.missing import ixi
from benchmarks.panel_worlds import WORLDS

TRAIN_SHARE, TEST_ROWS = 0.6, 2000
FEW = ("age", "bmi", "bp", "s5")
"""Predictors where diabetes is learnt from a few rows."""


@final
@dataclass(frozen=True)
class Training:
    """What a method may see.

    Args:
        name: of the table and its split; names the run folder.
        rows: to train on, those that choose a step or a hyperparameter among them.
        classes: of its categories.
        seed: of everything random in the fit.
    """

    name: str
    rows: pandas.DataFrame
    classes: Classes
    seed: int


@final
@dataclass(frozen=True)
class Question:
    """One variable asked from others."""

    target: str
    predictors: tuple[str, ...]


@final
@dataclass(frozen=True)
class Task:
    """Training rows, test rows, and questions about the test rows."""

    table: str
    training: Training
    test: pandas.DataFrame
    questions: tuple[Question, ...]

    def cut(self, rows: int, test_rows: int) -> "Task":
        """The same with fewer rows."""
        training = replace(self.training, rows=self.training.rows.head(rows))
        return replace(self, training=training, test=self.test.head(test_rows))


def world_task(name: str, seed: int, rows: int, test_rows: int) -> Task:
    """A world's training and test rows; every target is asked from the predictor alone.

    Fewer test rows are the first of more, so that a method whose draws are dear can be compared on some of them.
    """
    world = WORLDS[name]
    place = list(WORLDS).index(name)
    train = world.sample(rows, np.random.default_rng((seed, place, 0)))
    test = world.sample(max(test_rows, TEST_ROWS), np.random.default_rng((seed, place, 1))).head(test_rows)
    given = tuple(world.predictors(1, np.random.default_rng(0)))
    questions = tuple(Question(target, given) for target in train if target not in given)
    return Task(name, Training(f"{name}-{seed}", train, {}, seed), test, questions)


def diabetes() -> tuple[pandas.DataFrame, Classes]:
    """442 people, ten predictors in their units, and the progression of disease after a year (``target``)."""
    frame = load_diabetes(as_frame=True, scaled=False).frame
    return frame.assign(sex=frame["sex"] - 1.0).astype(float), {"sex": 2}


def wine() -> tuple[pandas.DataFrame, Classes]:
    """178 wines of three cultivars (``target``), thirteen measurements."""
    return _named(load_wine(as_frame=True).frame), {"target": 3}


def cancer() -> tuple[pandas.DataFrame, Classes]:
    """569 biopsies, malignant or not (``target``), thirty measurements."""
    return _named(load_breast_cancer(as_frame=True).frame), {"target": 2}


def _named(frame: pandas.DataFrame) -> pandas.DataFrame:
    """With names that a schema takes: letters, digits and underscores."""
    return frame.rename(columns=lambda name: re.sub(r"\W+", "_", name)).astype(float)


SHIPPED: Mapping[str, Callable[[], tuple[pandas.DataFrame, Classes]]] = {
    "diabetes": diabetes,
    "wine": wine,
    "cancer": cancer,
}
"""Tables that come with scikit-learn."""

TARGETS: Mapping[str, tuple[str, ...]] = {
    "diabetes": ("target", "bmi", "sex"),
    "wine": ("target", "alcohol", "proline"),
    "cancer": ("target", "mean_smoothness", "worst_area"),
    "ixi": ("age", "height", "hippocampus", "sex"),
}


def real_tables(path: Path) -> dict[str, tuple[pandas.DataFrame, Classes]]:
    """The tables that are there: scikit-learn's, and IXI's where its file is."""
    found = {name: load() for name, load in SHIPPED.items()}
    return found | ({"ixi": ixi(path)} if path.exists() else {})


def real_task(name: str, frame: pandas.DataFrame, classes: Classes, seed: int) -> Task:
    """A random split of a table; each target is asked from all other variables."""
    order = np.random.default_rng((seed, 7)).permutation(len(frame))
    cut = round(TRAIN_SHARE * len(frame))
    train, test = (frame.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    questions = tuple(Question(target, tuple(frame.columns.drop(target))) for target in TARGETS[name])
    return Task(name, Training(f"{name}-{seed}", train, classes, seed), test, questions)


def few_task(subset: int, rows: int) -> Task:
    """Diabetes from a few rows in all, asked of the others: four predictors, one subset a number."""
    frame = diabetes()[0][[*FEW, "target"]]
    order = np.random.default_rng((subset, 8)).permutation(len(frame))
    train, test = (frame.iloc[part].reset_index(drop=True) for part in (order[:rows], order[rows:]))
    training = Training(f"few-{subset}", train, {}, subset)
    return Task(f"diabetes, {rows} rows", training, test, (Question("target", FEW),))
