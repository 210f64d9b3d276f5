"""Linear models against a known distribution."""

import json
import math

import numpy as np
import pandas
import pytest
from compared_runs import NUMBERS, compared
from tiny_cohorts import write_schema
from tiny_runs import train

from metavoxel.runs.run import RunFolder


def table_of(folder, method, target):
    return pandas.read_csv(folder / "run" / "comparisons" / method / f"predictions-{target}.tsv", sep="\t")


def truth_of(folder):
    frame = pandas.read_csv(folder / "people.csv").set_index("participant_id")
    return frame.loc[RunFolder(folder / "run").read_record()["split"]["test"]].reset_index()


def test_errors_match_the_known_distribution(numbers):
    records = compared(numbers / "run", ["linear"])
    assert not records["linear"].failures
    truth = truth_of(numbers)
    second = table_of(numbers, "linear", "second")
    assert list(second["participant_id"]) == list(truth["participant_id"])
    errors = (second["second"] - truth["second"]).abs()
    expected, spread = math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi)
    assert abs(errors.mean() - expected) < 4 * spread / math.sqrt(len(errors))
    label = table_of(numbers, "linear", "label")
    exact = 1 / (1 + np.exp(-2 * truth["first"]))
    assert np.abs(label["label_p[b]"] - exact).mean() < 0.05
    assert np.allclose(label["label_p[a]"] + label["label_p[b]"], 1, atol=1e-5)
    assert ((label["label"] == "b") == (label["label_p[b]"] > 0.5)).all()


def test_principal_components_predict_age_and_sex(pictures):
    compared(pictures / "run", ["linear"])
    truth = truth_of(pictures)
    error = (table_of(pictures, "linear", "age")["age"] - truth["age"]).abs().mean()
    assert error < 0.25 * (truth["age"] - truth["age"].mean()).abs().mean()
    assert (table_of(pictures, "linear", "sex")["sex"] == truth["sex"]).all()
    record = json.loads((pictures / "run" / "comparisons" / "linear" / "record.json").read_text())
    assert record["targets"] == {"age": ["picture", "sex"], "sex": ["picture", "age"]}
    assert record["evaluations"] == 0 and record["parameters"] > 2 * 8 * 256 and record["failed"] is None


def test_targets_of_test_subjects_are_not_used(numbers):
    """Neither fits nor predictions depend on their values."""
    compared(numbers / "run", ["linear"], ["second"])
    before = table_of(numbers, "linear", "second")
    frame = pandas.read_csv(numbers / "people.csv")
    tested = frame["participant_id"].isin(RunFolder(numbers / "run").read_record()["split"]["test"])
    frame.loc[tested, "second"] = 1e6
    frame.to_csv(numbers / "people.csv", index=False)
    (numbers / "run" / "comparisons" / "linear" / "record.json").unlink()
    compared(numbers / "run", ["linear"], ["second"])
    pandas.testing.assert_frame_equal(table_of(numbers, "linear", "second"), before)


def test_rows_with_missing_predictors_are_predicted(numbers):
    frame = pandas.read_csv(numbers / "people.csv", dtype=str)
    frame.loc[::5, "first"] = "n/a"
    frame.to_csv(numbers / "people.csv", index=False)
    compared(numbers / "run", ["linear"], ["second"])
    found, truth = table_of(numbers, "linear", "second"), truth_of(numbers)
    assert found["second"].notna().all()
    errors, missing = (found["second"] - truth["second"]).abs(), truth["first"].isna()
    assert errors[missing].mean() > errors[~missing].mean()


@pytest.mark.filterwarnings("ignore:.*no training row.*:metavoxel.errors.CohortWarning")
def test_a_target_with_a_single_training_label_fails_independently(numbers):
    """The split is a column of the table; no training subject has the label a."""
    frame = pandas.read_csv(numbers / "people.csv")
    frame["part"] = np.where(frame["label"] == "b", "train", "test")
    frame.loc[frame.index[frame["label"] == "b"][:5], "part"] = "validation"
    frame.to_csv(numbers / "people.csv", index=False)
    raw = {**NUMBERS, "cohort": {"table": "people.csv", "split": {"column": "part"}}}
    train(write_schema(numbers, raw, name="other.yaml"), numbers / "other")
    records = compared(numbers / "other", ["linear"])
    assert set(records["linear"].failures) == {"label"} and set(records["linear"].targets) == {"first", "second"}
    folder = numbers / "other" / "comparisons" / "linear"
    record = json.loads((folder / "record.json").read_text())
    assert "requires at least two labels" in record["failed"] and set(record["targets"]) == {"first", "second"}
    assert sorted(path.name for path in folder.glob("*.tsv")) == ["predictions-first.tsv", "predictions-second.tsv"]
