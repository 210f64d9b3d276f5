"""Calibration by region and generated rows, from a run to its report and tables."""

import json
from dataclasses import replace

import numpy as np
import pandas
import pytest

from metavoxel.evaluation.evaluating import evaluating
from metavoxel.evaluation.held_out import held_out
from metavoxel.evaluation.metrics.features.scattering import Scattering
from metavoxel.evaluation.report.distribution_sections import by_region, generated_rows
from metavoxel.evaluation.report.table import DASH
from metavoxel.evaluation.settings import Settings
from metavoxel.runs.run import RunFolder, load

QUICK = Settings(steps=2, sample_steps=2, draws=5)


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def evaluate(study, output, settings=QUICK):
    run = study / "run"
    return finished(evaluating(load(run), RunFolder(run), output, settings, Scattering()))


@pytest.fixture(scope="module")
def evaluated(large_study, tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    return evaluate(large_study, output), output


def csv(path):
    return pandas.read_csv(path, na_values=[DASH], keep_default_na=False)


def test_every_question_has_its_regions(evaluated, large_study):
    results, output = evaluated
    table = csv(output / "calibration.csv")
    assert table["target"].tolist() == ["age", "sex", "score", "age", "age", "age"]
    assert table["given"].tolist() == ["sex, score", "age, score", "age, sex", "sex", "score", "∅"]
    numbers = csv(output / "regions-numbers.csv").set_index(["target", "given", "predictor", "region"])
    part = held_out(load(large_study / "run"), RunFolder(large_study / "run"))
    draws, truth = results.joint["age"].draws, part.numbers("age")
    known = np.isfinite(truth)
    female = known & (np.array(part.truth("sex")) == "female")
    row = numbers.loc[("age", "sex, score", "sex", "female")]
    low, high = draws[female].min(1), draws[female].max(1)
    assert row["rows"] == female.sum() and row["nominal"] == pytest.approx(1 - 2 / 6, rel=1e-5)
    assert row["coverage"] == pytest.approx(((low <= truth[female]) & (truth[female] <= high)).mean(), rel=1e-4)
    assert row["width"] == pytest.approx((high - low).mean(), rel=1e-4)
    labels = csv(output / "regions-labels.csv")
    assert labels["target"].unique().tolist() == ["sex"] and "missing" in labels["region"].tolist()
    pit = csv(output / "pit.csv")
    assert pit[(pit["target"] == "age") & (pit["given"] == "∅")]["rows"].sum() == known.sum()


def test_generated_rows_are_compared_with_held_out_rows(evaluated, large_study):
    results, output = evaluated
    rows = csv(output / "rows.csv").set_index("rows beside the held-out ones")
    assert list(rows.index) == ["generated rows", "training rows"] and (rows["rows"] == 30).all()
    assert rows["C2ST"].between(0, 1).all() and (rows["C2ST se"] > 0).all()
    assert csv(output / "rows-variables.csv")["variable"].sort_values().tolist() == ["age", "score", "sex"]
    assert len(csv(output / "rows-pairs.csv")) == 3
    assert csv(output / "rows-nearest.csv")["rows"].tolist() == ["generated rows", "held-out rows"]
    drawn = load(large_study / "run").sample(30, seed=0, steps=2)
    kept = next((output / "parts").glob("samples-*/samples.json"))
    found = [row["age"] for row in json.loads(kept.read_text())["rows"]]
    assert found == pytest.approx(drawn["age"].tolist(), rel=1e-4)


def test_the_report_contains_the_findings(evaluated):
    results, output = evaluated
    text = (output / "report.html").read_text(encoding="utf-8")
    for title in ("Calibration by region", "Generated rows", "Every question, and its worst region"):
        assert title in text
    assert {"pit"} <= {path.stem for path in (output / "figures").glob("*.png")}
    assert "Found " in text and "floor" in text and "Training subjects enter in three places" in text


def test_sentences_follow_the_results(evaluated):
    results, _ = evaluated
    quality = results.table_quality
    same = replace(quality, test=quality.test._replace(accuracy=0.5, error=0.05))
    assert "generated rows are indistinguishable from real ones" in " ".join(generated_rows(same).words)
    apart = replace(quality, test=quality.test._replace(accuracy=0.9, error=0.03))
    assert "generated rows are distinguishable from real ones" in " ".join(generated_rows(apart).words)
    both = replace(apart, real_test=apart.test)
    assert "no more distinguishable than training rows" in " ".join(generated_rows(both).words)
    copies = replace(quality, nearness=quality.nearness._replace(alike=0.6))
    assert "Memorisation: 60%" in " ".join(generated_rows(copies).words)
    assert not generated_rows(None) and not by_region([], [])
    one = results.regional_calibrations[0]
    wrong = one.table.assign(
        z=5.0, p=[*[1.0] * (len(one.table) - 1), 1e-5], finding=["within chance"] * (len(one.table) - 1) + ["too wide"]
    )
    words = " ".join(by_region([replace(one, table=wrong)], []).words)
    assert "age from sex, score: too wide in prediction" in words
    calibrated = one.table.assign(finding="within chance")
    assert "No significant deviation" in " ".join(by_region([replace(one, table=calibrated)], []).words)


@pytest.mark.slow
def test_generated_rows_are_skipped_on_request_and_with_few_rows(large_study, tmp_path, monkeypatch, table_study):
    monkeypatch.setattr("metavoxel.evaluation.evaluating.drawings", lambda results: iter(()))
    settings = replace(QUICK, targets=["sex"], flexible="sex", rows=0, steps=1)
    results = evaluate(large_study, tmp_path / "none", settings)
    assert results.table_quality is None and not (tmp_path / "none" / "rows.csv").exists()
    assert not any("generated rows" in note for note in results.notes)
    results = evaluate(table_study, tmp_path / "few", replace(settings, rows=1000))
    assert results.table_quality is None
    assert "generated rows: not compared; 20 test rows, training rows and draws each are required" in results.notes


@pytest.mark.slow
def test_without_copies_training_rows_are_only_the_floor(large_study, tmp_path, monkeypatch):
    monkeypatch.setattr("metavoxel.evaluation.evaluating.drawings", lambda results: iter(()))
    settings = replace(QUICK, targets=["sex"], flexible="sex", rows=25, steps=1, copies=False)
    results = evaluate(large_study, tmp_path, settings)
    assert results.table_quality.rows == 25 and results.table_quality.nearness is None
    assert not (tmp_path / "rows-nearest.csv").exists()
