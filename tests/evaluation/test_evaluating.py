"""Complete evaluations of tiny runs: outputs, resuming, and exclusion of training subjects."""

import shutil
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch
from tiny_comparisons import write_comparison

from metavoxel.errors import CohortError, EvidenceError, RunError
from metavoxel.evaluation import held_out_predictions as predicting
from metavoxel.evaluation.evaluating import evaluating
from metavoxel.evaluation.held_out import held_out
from metavoxel.evaluation.metrics.features.base import AbstractImageFeatures
from metavoxel.evaluation.metrics.features.scattering import Scattering
from metavoxel.evaluation.quality import ImageQuality, check_enough
from metavoxel.evaluation.report.table import DASH
from metavoxel.evaluation.settings import Settings
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder, load

QUICK = Settings(steps=2, sample_steps=2, draws=20, samples=6)
SCANS = Settings(targets=["age"], flexible="sex", steps=1, sample_steps=1, draws=2, samples=5)


class Moments(AbstractImageFeatures):
    """Two features, whose covariance has full rank for a few scans."""

    name, description, size = "moments", "moments: mean and standard deviation", 2

    def describe(self, slices):
        return torch.stack([slices.mean((1, 2)), slices.std((1, 2))], 1)


def evaluate(run, output, settings=QUICK):
    steps = evaluating(load(run), RunFolder(run), output, settings, Moments())
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def no_figures(monkeypatch):
    """Skip the figures, which take most of the time of a tiny evaluation."""
    monkeypatch.setattr("metavoxel.evaluation.evaluating.drawings", lambda results: iter(()))


def csv(path):
    return pandas.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def table_report(table_study, tmp_path_factory):
    run = table_study / "run"
    part = held_out(load(run), RunFolder(run))
    table = pandas.DataFrame({"participant_id": part.subjects, "age": 50.0, "age_sd": "", "age_p05": "", "age_p95": ""})
    write_comparison(run, "linear", {"age": table})
    write_comparison(run, "vit", {}, failed="it ran out of memory")
    output = tmp_path_factory.mktemp("report")
    return evaluate(run, output), output


def test_table_1_has_one_row_per_method(table_report):
    _, output = table_report
    table = csv(output / "table1.csv").set_index("method")
    assert list(table.index) == ["metavoxel (evidence)", "population mean or majority", "linear", "vit"]
    assert table.loc["linear", "sex accuracy"] == table.loc["vit", "age (years) MAE"] == DASH
    assert table.loc["linear", "training (s)"] == "3.5" and table.loc["linear", "parameters"] == "42"
    joint = table.loc["metavoxel (evidence)"]
    assert float(joint["training (s)"]) > 0 and joint["network evaluations"] == "1"
    assert (
        float(joint["age (years) MAE low"]) <= float(joint["age (years) MAE"]) <= float(joint["age (years) MAE high"])
    )
    assert 0 <= float(joint["age (years) 90 % coverage"]) <= 1


def test_point_predictions_equal_those_of_predict(table_report, table_study):
    results, _ = table_report
    model = load(table_study / "run")
    rows = part_table(model, RunFolder(table_study / "run"), "test")
    for target in ("age", "sex"):
        predicted = model.predict(rows, target)
        assert results.joint[target].table[target].tolist() == predicted[target].tolist()
    drawn = model.predict(rows, "age", draws=20, steps=2)
    assert results.joint["age"].table["age_sd"].tolist() == drawn["age_sd"].tolist()


def test_table_2_has_one_row_per_subset(table_report):
    results, output = table_report
    table = csv(output / "table2.csv").set_index("given")
    assert list(table.index) == ["sex, score", "sex", "score", "∅", "population mean"]
    variances = table["mean sample variance (ddof 1)"]
    assert variances["population mean"] == DASH
    expected = np.nanmean(results.flexible[0].draws[results.held_out.present("age")].var(1, ddof=1))
    assert float(variances["sex, score"]) == pytest.approx(expected, rel=1e-3)


def test_the_report_is_one_file(table_report):
    _, output = table_report
    text = (output / "report.html").read_text(encoding="utf-8")
    figures = {path.stem for path in (output / "figures").glob("*.png")}
    assert figures == {path.stem for path in (output / "figures").glob("*.svg")}
    assert {"predicted-age", "spread-age", "coverage", "posteriors", "reliability-sex"} <= figures
    assert text.count("data:image/png;base64,") == len(figures)
    assert "vit: failed: it ran out of memory" in text and "12 test rows" in text
    assert "http" not in text and "<link" not in text and "<script" not in text


def test_an_interrupted_evaluation_resumes(no_figures, table_report, table_study, tmp_path, monkeypatch):
    run = table_study / "run"
    monkeypatch.setattr(predicting, "BLOCK", 5)
    computed = []
    block = predicting.HeldOutPredictor._block

    def counted(self, target, given, protocol, rows):
        computed.append((target, given, rows.start))
        return block(self, target, given, protocol, rows)

    monkeypatch.setattr(predicting.HeldOutPredictor, "_block", counted)
    stopped = evaluating(load(run), RunFolder(run), tmp_path, QUICK, Moments())
    for _ in range(5):
        next(stopped)
    stopped.close()
    before = list(computed)
    assert before
    results = evaluate(run, tmp_path)
    assert len(computed) == len(set(computed)), "no block is computed twice"
    pandas.testing.assert_frame_equal(results.joint["age"].table, table_report[0].joint["age"].table)


@pytest.fixture(scope="module")
def scan_report(scan_study, tmp_path_factory):
    write_oracle(scan_study / "run")
    output = tmp_path_factory.mktemp("report")
    return evaluate(scan_study / "run", output, SCANS), output


def write_oracle(run):
    """A comparison whose predicted and generated volumes are the held-out ones."""
    part = held_out(load(run), RunFolder(run))
    folder = write_comparison(run, "oracle", {}, targets={"volume": ["picture"]})
    column, cells, rows = part.cohort.columns["volume"], [], []
    for row in range(len(part)):
        cell = {"volume": ""}
        if column.present[row]:
            stem = f"sample-{row + 1:03d}"
            cell = part.spec("volume").write("volume", column.read([row])[0], folder=folder / "samples", stem=stem)
            rows.append({"sample": row + 1, **cell})
        cells.append(f"samples/{cell['volume']}" if cell["volume"] else "")
    pandas.DataFrame(rows).to_csv(folder / "samples" / "samples.tsv", sep="\t", index=False)
    table = pandas.DataFrame({"participant_id": part.subjects, "volume": cells})
    table.to_csv(folder / "predictions-volume.tsv", sep="\t", index=False)


def test_image_quality_is_measured(scan_report):
    results, output = scan_report
    text = (output / "report.html").read_text(encoding="utf-8")
    for image in ("picture", "volume"):
        rows = results.judged.measures[image]
        assert set(rows) - {"oracle"} == {"metavoxel (evidence)", "autoencoder alone", "held-out halves"}
        found = rows["metavoxel (evidence)"]
        assert (
            found["scans"] == 5
            and np.isfinite(found["kid"])
            and len(found["planes"]) == (1 if image == "picture" else 3)
        )
        assert found["fid"][0] == pytest.approx(np.mean(list(found["planes"].values())))
        assert rows["autoencoder alone"]["fid"][0] < found["fid"][0] or image == "volume"
        assert 0 <= found["precision"] <= 1 and -1 <= found["ms_ssim"] <= 1 + 1e-6  # rounding
        assert f"Memorisation, {image} by metavoxel" in text
        for figure in ("denoising", "samples", "inpainting", "sweep"):
            assert (output / "figures" / f"{figure}-{image}.svg").exists()
    assert np.mean(results.judged.codec["picture"]["psnr"]) > 60, "the codec of pictures is the identity"
    table = csv(output / "table1.csv")
    assert float(table["picture FID low"][0]) <= float(table["picture FID"][0]) and table["volume FID"][1] == DASH
    assert [row["method"] for row in results.translations["volume"].rows] == [
        "metavoxel (evidence), posterior mean (1 evaluation)", "metavoxel (evidence), mean of 3 draws of 1", "oracle",
    ]  # fmt: skip


def test_images_of_a_comparison_are_measured(scan_report):
    results, output = scan_report
    found = results.judged.measures["volume"]["oracle"]
    assert found["fid"][0] == pytest.approx(0, abs=1e-6) and found["precision"] == found["recall"] == 1
    assert found["copying"]["median"] > 0
    rows = {row["method"]: row for row in results.translations["volume"].rows}
    assert rows["oracle"]["PSNR (dB)"].value == pytest.approx(120) and rows["oracle"]["SSIM"].value == pytest.approx(1)
    table = csv(output / "table1.csv").set_index("method")
    assert table.loc["oracle", "age MAE"] == DASH and float(table.loc["oracle", "volume FID"]) < 1e-6


def test_too_few_scans_for_a_covariance_are_reported(scan_part):
    quality = ImageQuality(scan_part, "volume", Scattering(), 0)
    assert quality.too_few(6).startswith(
        "image volume: no FID with 5 held-out and 6 generated scans. It needs at least 15 of each: the covariance of 113 "
        "features needs 114 slices, and a scan has 8 per plane."
    )
    assert "fid" not in {name for name, value in quality.measure(quality.real, 5).items() if value is not None}
    assert ImageQuality(scan_part, "volume", Moments(), 0).too_few(5) == ""


def test_requested_fid_with_too_few_scans_is_refused_before_any_computation(scan_study, tmp_path):
    run = scan_study / "run"
    with pytest.raises(EvidenceError) as caught:
        list(evaluating(load(run), RunFolder(run), tmp_path, replace(SCANS, fid=True), Scattering()))
    found = {problem.where: problem.what for problem in caught.value.problems if "volume" in problem.what}
    assert found["`features`"].startswith(
        "image volume: no FID with 5 held-out and 5 generated scans. It needs at least 15"
    )
    assert not list(tmp_path.iterdir())
    check_enough(held_out(load(run), RunFolder(run)), Moments(), 5)


def test_generated_scans_equal_those_of_sample(scan_report, scan_study):
    results, _ = scan_report
    drawn = load(scan_study / "run").sample(5, seed=0, steps=1)
    assert results.samples.table["age"].tolist() == pytest.approx(drawn["age"].tolist(), rel=1e-4)


def copied(study, folder):
    shutil.copytree(study, folder)
    return folder


def training_subjects(study):
    return set(RunFolder(study / "run").read_record()["split"]["train"])


@pytest.mark.slow
def test_training_subjects_are_not_read(no_figures, table_report, table_study, scan_report, scan_study, tmp_path):
    """A marker in the values and files of training subjects changes only the population baseline."""
    study = copied(table_study, tmp_path / "table")
    frame = pandas.read_csv(study / "people.csv", dtype=str, keep_default_na=False).set_index("participant_id")
    rows = sorted(training_subjects(study))
    frame.loc[rows, ["Age", "score"]] = ["87.654", "-54321"]
    frame.reset_index().to_csv(study / "people.csv", index=False)
    evaluate(study / "run", tmp_path / "marked")
    for name, key in (("table1", "method"), ("table2", "given")):
        before, after = (
            csv(folder / f"{name}.csv").set_index(key) for folder in (table_report[1], tmp_path / "marked")
        )
        seconds = [column for column in before if column.endswith("(s)")]
        population = [row for row in before.index if row.startswith("population")]
        same = before.drop(columns=seconds).drop(index=population)
        pandas.testing.assert_frame_equal(same, after.drop(columns=seconds).drop(index=population))
        assert (before.loc[population] != after.loc[population]).any(axis=None)
    assert "54321" not in (tmp_path / "marked" / "report.html").read_text()

    study = copied(scan_study, tmp_path / "scans")
    for subject in training_subjects(study):
        for suffix in (".png", ".nii.gz"):
            (study / "scans" / f"{subject}{suffix}").write_bytes(b"MARKER")
    settings = replace(SCANS, copies=False)
    results = evaluate(study / "run", tmp_path / "unseen", settings)
    before, after = (csv(folder / "table1.csv") for folder in (scan_report[1], tmp_path / "unseen"))
    assert before["age MAE"].tolist() == after["age MAE"].tolist()
    for image, found in results.judged.measures.items():
        for method, measures in found.items():
            clean = {name: value for name, value in scan_report[0].judged.measures[image][method].items()
                     if name != "copying"}  # fmt: skip
            assert measures == clean
    with pytest.raises(CohortError, match="scans/s"):
        evaluate(study / "run", tmp_path / "unseen", SCANS)


def test_a_run_without_a_test_part_is_refused(table_study, tmp_path):
    study = copied(table_study, tmp_path / "table")
    folder = RunFolder(study / "run")
    record = folder.read_record()
    folder.write_record({**record, "split": {**record["split"], "test": []}})
    with pytest.raises(RunError) as caught:
        evaluate(study / "run", tmp_path / "out")
    assert "run.json: the run has no test part" in str(caught.value) and "cohort.split.test" in str(caught.value)
