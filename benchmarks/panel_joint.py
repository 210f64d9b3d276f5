"""metavoxel in the panel: default settings, numbers `continuous` and labels `categorical`, by the public API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import pandas
import torch
import yaml
from jaxtyping import Float64
from numpy.random import Generator

import metavoxel as mv
from benchmarks.imputation import Classes
from benchmarks.missing import cells, filled_by
from benchmarks.oasis import trained
from benchmarks.panel_methods import AbstractLabel, AbstractMethod, AbstractNumber
from benchmarks.panel_tables import Question, Training


@final
@dataclass(frozen=True)
class Runs:
    """Models of training rows, each trained once and stored in a folder.

    Args:
        folder: of the run folders.
        settings: sections of the schema with other values than the defaults; none by default.
        sampling: changes of sampling settings; none by default.
    """

    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    sampling: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def quick(cls, folder: Path) -> "Runs":
        """Return models with minimal training, as a test that everything runs."""
        training = {"steps": 10, "batch_size": 32, "warm_up": 3, "validate_every": 5}
        backbone = {"type": "transformer", "width": 16, "depth": 1, "heads": 2}
        return cls(folder, {"training": training, "backbone": backbone}, {"steps": 3})

    def model(self, training: Training) -> mv.Model:
        """Return the model of these rows, of which nine tenths are for training and one tenth for validation."""
        path = self.folder / f"{training.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        table_of(training.rows, training.classes).to_csv(path.with_suffix(".csv"), index=False)
        split = {"train": 0.9, "validation": 0.1, "test": 0, "seed": training.seed}
        raw = {
            "cohort": {"table": path.with_suffix(".csv").name, "split": split},
            "variables": {name: _variable(name, training.classes) for name in training.rows},
            **self.settings,
        }
        raw["training"] = {"seed": training.seed, **raw.get("training", {})}
        path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
        return trained(mv.load_schema(path), path.with_suffix(""))


def _variable(name: str, classes: Classes) -> dict[str, object]:
    if name not in classes:
        return {"type": "continuous"}
    return {"type": "categorical", "categories": [f"c{label}" for label in range(classes[name])]}


def table_of(rows: pandas.DataFrame, classes: Classes) -> pandas.DataFrame:
    """Format rows as cells of a table, with a column of row names."""
    table = cells(rows, classes)
    table.insert(0, "participant_id", [f"r{row}" for row in range(len(rows))])
    return table


@final
class Joint(AbstractMethod):
    """One joint model for all predictions of a table."""

    name = "metavoxel"

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def fit_number(self, training: Training, question: Question) -> AbstractNumber:
        return JointNumber(self._runs.model(training), training.classes, question, self._runs.sampling)

    def fit_label(self, training: Training, question: Question) -> AbstractLabel:
        return JointLabel(self._runs.model(training), training.classes, question)


@final
class JointNumber(AbstractNumber):
    """Draws of one number, and its posterior mean without draws."""

    def __init__(self, model: mv.Model, classes: Classes, question: Question, sampling: Mapping[str, object]) -> None:
        self._model, self._classes, self._question, self._sampling = model, classes, question, sampling

    def draws(self, rows: pandas.DataFrame, count: int, random: Generator) -> Float64[np.ndarray, "n k"]:
        target, given = self._question.target, list(self._question.predictors)
        table, seed = table_of(rows[given], self._classes), int(random.integers(2**31))
        answer = self._model.answer(table, target, given, draws=count, seed=seed, **self._sampling).long_table()
        return answer[target].to_numpy(float).reshape(len(rows), count)

    def means(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n"]:
        target, given = self._question.target, list(self._question.predictors)
        return self._model.predict(table_of(rows[given], self._classes), target, given)[target].to_numpy(float)


@final
class JointLabel(AbstractLabel):
    """Probabilities of one category."""

    def __init__(self, model: mv.Model, classes: Classes, question: Question) -> None:
        self._model, self._classes, self._question = model, classes, question

    def probabilities(self, rows: pandas.DataFrame) -> Float64[np.ndarray, "n k"]:
        target, given = self._question.target, list(self._question.predictors)
        answer = self._model.predict(table_of(rows[given], self._classes), target, given)
        return answer[[f"{target}_p[c{label}]" for label in range(self._classes[target])]].to_numpy(float)


def generated(runs: Runs, training: Training, count: int) -> pandas.DataFrame:
    """Return joint draws of all variables, categories as whole numbers."""
    drawn = runs.model(training).sample(count, seed=training.seed, **runs.sampling)
    columns = {name: torch.as_tensor(drawn[name]).double().reshape(count).numpy() for name in training.rows}
    return pandas.DataFrame(columns)


def imputed(runs: Runs, training: Training) -> pandas.DataFrame:
    """Impute missing cells of the training rows by predictions from the others of their row."""
    return filled_by(runs.model(training), training.rows, training.classes)
