"""Scores, subgroups and comparisons on the test part of a trained run."""

import json
import shutil

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tiny_comparisons import write_comparison

from metavoxel.errors import EvidenceError
from metavoxel.evaluation.method import compared, population
from metavoxel.evaluation.metrics.scores import LabelScore, NumberScore, area, score
from metavoxel.evaluation.report.tables import differences, scores_of, subgroup_table
from metavoxel.evaluation.subgroups import check_columns, groups


def predictions(part, **columns):
    return pandas.DataFrame({"participant_id": part.subjects, **columns})


def test_a_number_is_scored_where_its_true_value_is_known(table_part):
    truth = table_part.numbers("age")
    known = np.isfinite(truth)
    off = np.where(np.arange(len(truth)) % 2, 3.0, -1.0)
    table = predictions(table_part, age=np.nan_to_num(truth) + off, age_sd=2.0, age_p05=truth - 2, age_p95=truth + 2)
    table["age"] = table["age"].astype(object)
    table.loc[np.flatnonzero(known)[0], "age"] = ""
    found = score(table_part, "age", table)
    assert isinstance(found, NumberScore)
    errors = np.abs(off[np.flatnonzero(known)[1:]])
    assert 0 < known.sum() < len(truth) and found.rows == known.sum() - 1
    assert found.mae.value == pytest.approx(errors.mean()) and found.sd == pytest.approx(errors.std(ddof=1))
    assert found.variance == 4 and found.coverage.value == 1
    plain = score(table_part, "age", predictions(table_part, age=truth))
    assert plain.coverage is None and np.isnan(plain.variance)
    assert score(table_part, "age", predictions(table_part, age="")) is None


def test_a_label_is_scored_by_its_probabilities_too(table_part):
    truth = table_part.truth("sex")
    male = np.array([label == "male" for label in truth])
    p = np.where(male, 0.8, 0.4)
    table = predictions(table_part, sex=truth, **{"sex_p[female]": 1 - p, "sex_p[male]": p})
    found = score(table_part, "sex", table)
    assert isinstance(found, LabelScore) and found.accuracy.value == 1 and found.auc.value == 1
    assert found.brier == pytest.approx(np.mean(2 * (male - p) ** 2))
    assert found.log_loss == pytest.approx(-np.log(np.where(male, p, 1 - p)).mean())
    plain = score(table_part, "sex", predictions(table_part, sex="male"))
    assert plain.accuracy.value == male.mean() and plain.auc is None


def test_auc_of_several_classes():
    p = np.eye(3)[[0, 1, 2, 0]] * 0.7 + 0.1
    assert area(p, np.array([0, 1, 2, 0])) == 1 and area(p, np.array([1, 2, 0, 1])) < 0.5
    assert np.isnan(area(p, np.array([1, 1, 1, 1])))


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(2, 4))
def test_the_area_is_that_of_scikit_learn(seed, rows, classes):
    """With ties, as scores have one decimal."""
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.ones(classes), rows).round(1)
    labels = random.permutation(np.arange(rows) % classes)
    present, counts = np.unique(labels, return_counts=True)
    one_against_rest = [roc_auc_score(labels == label, p[:, label]) for label in present]
    expected = roc_auc_score(labels, p[:, 1]) if classes == 2 else np.average(one_against_rest, weights=counts)
    assert area(p, labels) == pytest.approx(expected)


def test_the_population_baseline_uses_training_rows_only(table_part):
    method = population(table_part, ["age", "sex"])
    cohort = table_part.model.schema.cohort
    frame = pandas.read_csv(table_part.model.schema.folder / cohort.table, dtype=str).set_index("participant_id")
    rows = table_part.folder.read_record()["split"]["train"]
    ages = pandas.to_numeric(frame.loc[rows, "Age"], errors="coerce").dropna()
    assert method.predictions["age"]["age"].unique() == pytest.approx([ages.mean()], rel=1e-6)
    share = (frame.loc[rows, "Sex"] == "2").mean()
    assert method.predictions["sex"]["sex_p[male]"].unique() == pytest.approx([share])


def test_groups_by_label_decade_and_site(table_part):
    found = groups(table_part, [])
    assert {group.variable for group in found} == {"age", "sex"}
    sexes = [group for group in found if group.variable == "sex"]
    assert sum(group.rows.sum() for group in sexes) == len(table_part)
    ages = table_part.numbers("age")
    for group in (group for group in found if group.variable == "age"):
        low, high = map(float, group.label.split(" to "))
        assert ((ages[group.rows] >= low) & (ages[group.rows] < high)).all()
    table_part.table.frame["Scanner ID"] = ["a", "b", "n/a", "b"] * (len(table_part) // 4)
    try:
        assert [(g.label, g.rows.sum()) for g in groups(table_part, []) if g.variable == "Scanner ID"] == [
            ("a", len(table_part) // 4), ("b", len(table_part) // 2),
        ]  # fmt: skip
    finally:
        del table_part.table.frame["Scanner ID"]
    assert {group.variable for group in groups(table_part, ["Sex"])} == {"age", "sex", "Sex"}
    with pytest.raises(EvidenceError, match="`by`: no column 'Sax'. Did you mean 'Sex'?"):
        check_columns(table_part, ["Sax"])


def test_methods_are_compared_row_by_row(table_part):
    truth = table_part.numbers("age")
    methods = [
        population(table_part, ["age"]),
        *(population(table_part, []).__class__(name, {"age": predictions(table_part, age=truth + off)})
          for name, off in (("near", 1.0), ("far", 4.0))),
    ]  # fmt: skip
    scores = scores_of(table_part, methods)
    rows = {row["method"]: row for row in differences(table_part, "near", scores).rows}
    column = "less that of near"
    assert set(rows) == {"population mean or majority", "far"}
    assert rows["far"][column].value == pytest.approx(3)
    by_group = subgroup_table(table_part, "age", groups(table_part, []), ["near", "far"], scores)
    assert {round(row["far"].value, 4) for row in by_group.rows} == {4.0}


@pytest.fixture
def comparisons(table_part):
    """The run's folder, without comparisons before and after the test."""
    folder = table_part.folder.path
    shutil.rmtree(folder / "comparisons", ignore_errors=True)
    yield folder
    shutil.rmtree(folder / "comparisons", ignore_errors=True)


def test_comparisons_are_read_and_reordered(table_part, comparisons):
    table = predictions(table_part, age=np.arange(len(table_part), dtype=float))
    write_comparison(comparisons, "linear", {"age": table.iloc[::-1]})
    (method,) = compared(table_part)
    assert method.name == "linear" and method.parameters == 42 and method.training_seconds == 3.5
    assert method.predictions["age"]["age"].astype(float).tolist() == list(range(len(table_part)))
    assert method.given == {"age": ["score"]} and method.notes == [] and method.samples is None


def test_problems_of_a_comparison_are_noted(table_part, comparisons):
    table = predictions(table_part, age=1.0)
    write_comparison(comparisons, "failing", {}, failed="loss is not finite at step 7")
    write_comparison(comparisons, "short", {"age": table.iloc[1:]})
    write_comparison(comparisons, "strange", {"mood": table})
    write_comparison(comparisons, "columnless", {"age": table[["participant_id"]]})
    (comparisons / "comparisons" / "empty").mkdir()
    broken = write_comparison(comparisons, "broken", {"age": table})
    (broken / "record.json").write_text("{")
    gone = write_comparison(comparisons, "gone", {"age": table})
    (gone / "predictions-age.tsv").unlink()
    found = {method.name: method for method in compared(table_part)}
    assert not any(method.predictions for method in found.values()) and len(found) == 7
    first = {name: method.notes[0] for name, method in found.items()}
    assert first["failing"] == "failed: loss is not finite at step 7"
    assert first["short"].endswith(f"must have a row for each of the {len(table_part)} test rows, and lacks "
                                   f"{table_part.subjects[0]!r}")  # fmt: skip
    assert first["strange"].endswith("target 'mood' is not a variable. Variables: age, sex, score")
    assert first["columnless"].endswith("no column 'age'; columns: participant_id")
    assert first["empty"].endswith("no such file; the comparison has not finished")
    assert "cannot be read" in first["broken"] and first["gone"].endswith("though record.json has this target")
    assert json.loads((comparisons / "comparisons" / "failing" / "record.json").read_text())["method"] == "failing"
