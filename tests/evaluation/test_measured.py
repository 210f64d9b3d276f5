"""A variable type with measures of its own, in an evaluation."""

from typing import Literal

import numpy as np
import pytest
from tiny_cohorts import BACKBONE, write_table

import metavoxel as mv
from metavoxel.evaluation.measured import FREQUENT, RANDOM
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.measures import AbstractMeasure
from metavoxel.plugins.hookspecs import API_VERSION, hookimpl


class Letters(AbstractMeasure):
    """Share of the letters of labels that are right."""

    name, higher_is_better = "letters", True

    def statistics(self, predicted, true):
        same = [[sum(map(str.__eq__, one, other)), len(other)] for one, other in zip(predicted, true, strict=True)]
        return np.array(same, np.float64)

    def value(self, totals):
        return float(totals[0] / totals[1])


class SpelledSpec(CategoricalSpec):
    """Labels that are compared letter by letter."""

    type: Literal["spelled"] = "spelled"

    def measures(self):
        return [Letters()]


class Plugin:
    metavoxel_api = API_VERSION

    @hookimpl
    def metavoxel_variables(self):
        return [SpelledSpec]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    write_table(folder)
    schema = {
        "cohort": {"table": str(folder / "people.csv"), "missing": ["n/a"],
                   "split": {"train": 0.5, "validation": 0.2, "test": 0.3}},
        "variables": {
            "age": {"type": "continuous", "column": "Age"},
            "sex": {"type": "spelled", "column": "Sex", "categories": {"female": 1, "male": 2}},
            "score": {"type": "continuous"},
        },
        "backbone": BACKBONE,
        "training": {"steps": 4, "batch_size": 8, "validate_every": 2},
    }  # fmt: skip
    registry = mv.load_registry(plugins=[Plugin()])
    mv.train(schema, folder / "run", registry=registry)
    return folder / "run", registry


def test_measures_are_in_a_table_of_their_own(run, monkeypatch):
    folder, registry = run
    monkeypatch.setattr("metavoxel.evaluation.evaluating.drawings", lambda results: iter(()))
    results = mv.evaluate(folder, registry=registry, steps=2, draws=2, samples=0, rows=0)
    (table,) = results.measured.values()
    assert [row["method"] for row in table.rows] == [results.mode, FREQUENT, RANDOM]
    for row in table.rows:
        assert row["rows"] == len(results.held_out) and 0 < row["letters ↑"].value <= 1
    answers = results.joint["sex"].table["sex"].tolist()
    truth = [str(label) for label in results.held_out.truth("sex")]
    expected = Letters().statistics(answers, truth).sum(0)
    assert table.rows[0]["letters ↑"].value == expected[0] / expected[1]
    assert (folder / "evaluation" / "measures-sex.csv").read_text().startswith("method,letters ↑,")
    assert "Values by measures of their type" in (folder / "evaluation" / "report.html").read_text(encoding="utf-8")
