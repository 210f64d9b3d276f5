"""Tables of the panel: training and test rows, and the predictions to make.

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
"""Predictors of diabetes with few training rows."""


@final
@dataclass(frozen=True)
class Training:
    """Training data of a method.

    Args:
        name: of the table and its split; names the run folder.
        rows: for training, including validation.
        classes: of the categories.
        seed: of the fit.
    """

    name: str
    rows: pandas.DataFrame
    classes: Classes
    seed: int


@final
@dataclass(frozen=True)
class Question:
    """Prediction of one variable from others."""

    target: str
    predictors: tuple[str, ...]


@final
@dataclass(frozen=True)
class Task:
    """Training rows, test rows, and predictions to make for the test rows."""

    table: str
    training: Training
    test: pandas.DataFrame
    questions: tuple[Question, ...]

    def cut(self, rows: int, test_rows: int) -> "Task":
        """Return the task with fewer rows."""
        training = replace(self.training, rows=self.training.rows.head(rows))
        return replace(self, training=training, test=self.test.head(test_rows))


def world_task(name: str, seed: int, rows: int, test_rows: int) -> Task:
    """Return training and test rows of a world; every target is predicted from the predictor alone.

    Fewer test rows are the first of more, so that a costly method can be compared on a part of them.
    """
    world = WORLDS[name]
    place = list(WORLDS).index(name)
    train = world.sample(rows, np.random.default_rng((seed, place, 0)))
    test = world.sample(max(test_rows, TEST_ROWS), np.random.default_rng((seed, place, 1))).head(test_rows)
    given = tuple(world.predictors(1, np.random.default_rng(0)))
    questions = tuple(Question(target, given) for target in train if target not in given)
    return Task(name, Training(f"{name}-{seed}", train, {}, seed), test, questions)


def diabetes() -> tuple[pandas.DataFrame, Classes]:
    """Return 442 subjects, ten predictors in their units, and disease progression after a year (``target``)."""
    frame = load_diabetes(as_frame=True, scaled=False).frame
    return frame.assign(sex=frame["sex"] - 1.0).astype(float), {"sex": 2}


def wine() -> tuple[pandas.DataFrame, Classes]:
    """Return 178 wines of three cultivars (``target``) with thirteen measurements."""
    return _named(load_wine(as_frame=True).frame), {"target": 3}


def cancer() -> tuple[pandas.DataFrame, Classes]:
    """Return 569 biopsies, malignant or not (``target``), with thirty measurements."""
    return _named(load_breast_cancer(as_frame=True).frame), {"target": 2}


def _named(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Rename columns to valid names of a schema: letters, digits and underscores."""
    return frame.rename(columns=lambda name: re.sub(r"\W+", "_", name)).astype(float)


SHIPPED: Mapping[str, Callable[[], tuple[pandas.DataFrame, Classes]]] = {
    "diabetes": diabetes,
    "wine": wine,
    "cancer": cancer,
}
"""Tables of scikit-learn."""

TARGETS: Mapping[str, tuple[str, ...]] = {
    "diabetes": ("target", "bmi", "sex"),
    "wine": ("target", "alcohol", "proline"),
    "cancer": ("target", "mean_smoothness", "worst_area"),
    "ixi": ("age", "height", "hippocampus", "sex"),
}


def real_tables(path: Path) -> dict[str, tuple[pandas.DataFrame, Classes]]:
    """Return the available tables: scikit-learn's, and IXI if its file exists."""
    found = {name: load() for name, load in SHIPPED.items()}
    return found | ({"ixi": ixi(path)} if path.exists() else {})


def real_task(name: str, frame: pandas.DataFrame, classes: Classes, seed: int) -> Task:
    """Return a random split of a table; each target is predicted from all other variables."""
    order = np.random.default_rng((seed, 7)).permutation(len(frame))
    cut = round(TRAIN_SHARE * len(frame))
    train, test = (frame.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    questions = tuple(Question(target, tuple(frame.columns.drop(target))) for target in TARGETS[name])
    return Task(name, Training(f"{name}-{seed}", train, classes, seed), test, questions)


def few_task(subset: int, rows: int) -> Task:
    """Return diabetes with few training rows and all others for testing: four predictors, one subset per number."""
    frame = diabetes()[0][[*FEW, "target"]]
    order = np.random.default_rng((subset, 8)).permutation(len(frame))
    train, test = (frame.iloc[part].reset_index(drop=True) for part in (order[:rows], order[rows:]))
    training = Training(f"few-{subset}", train, {}, subset)
    return Task(f"diabetes, {rows} rows", training, test, (Question("target", FEW),))
