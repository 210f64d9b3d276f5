"""``metavoxel compare`` end to end, on pictures and volumes together."""

import json
import shutil

import pandas
import pytest


@pytest.fixture
def scans(scan_study, tmp_path):
    """A copy of the study."""
    return shutil.copytree(scan_study, tmp_path / "study")


def table_of(path):
    return pandas.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


QUICK = ("--steps", "2", "--samples", "1", "--accelerator", "cpu", "--precision", "32-true")


@pytest.mark.slow
def test_all_methods_write_tables_like_predict(metavoxel, scans, tmp_path):
    done = metavoxel("compare", scans / "run", *QUICK)
    assert done.code == 0, done.out + done.err
    assert f"Predictions for the test subjects: {scans / 'run' / 'comparisons'}" in done.out
    folder = scans / "run" / "comparisons"
    assert sorted(path.name for path in folder.iterdir()) == [
        "braid", "continuous_sex", "densenet", "ldm", "linear", "vit",
    ]  # fmt: skip
    for target in ("age", "sex"):
        assert metavoxel(
            "predict", scans / "run", "--part", "test", "--target", target, "--output", tmp_path / "own.tsv"
        ).code == 0  # fmt: skip
        own = table_of(tmp_path / "own.tsv")
        for method in ("linear", "densenet", "vit", "continuous_sex", *(["braid"] if target == "age" else [])):
            found = table_of(folder / method / f"predictions-{target}.tsv")
            assert list(found.columns) == list(own.columns)
            assert list(found["participant_id"]) == list(own["participant_id"])
            assert (found[target] != "").all()
            record = json.loads((folder / method / "record.json").read_text())
            given = [name for name in ("picture", "volume", "age", "sex") if name != target]
            assert record["targets"][target] == given and record["failed"] is None and record["parameters"] > 0
    for method in ("ldm", "continuous_sex"):
        samples = table_of(folder / method / "samples" / "samples.tsv")
        assert len(samples) == 1 and (folder / method / "samples" / samples["volume"][0]).exists()
    again = metavoxel("compare", scans / "run", *QUICK)
    assert again.code == 0 and "densenet age 1/1" in again.err


def test_user_errors_exit_with_2(metavoxel, table_study, tmp_path):
    for arguments, message in [
        (["--methods", "liner"], "methods: no method 'liner'. Did you mean 'linear'?"),
        (["--methods", "vit"], "methods: 'vit' needs an image, and this schema has none. Of use here: linear"),
        (["--targets", "aeg"], "targets: no variable 'aeg'. Did you mean 'age'?"),
        (["--size", "large"], "--size: 'large' is not one of small, medium, full"),
    ]:
        done = metavoxel("compare", table_study / "run", *arguments)
        assert done.code == 2 and message in done.err
    assert "not a run folder" in metavoxel("compare", tmp_path).err
    assert not (table_study / "run" / "comparisons").exists()


def test_a_failure_is_reported_and_other_targets_continue(metavoxel, table_study, tmp_path):
    study = shutil.copytree(table_study, tmp_path / "study")
    folder = study / "run" / "comparisons" / "linear"
    folder.mkdir(parents=True)
    (folder / "predictions-age.tsv").mkdir()  # where a table is to be written
    done = metavoxel("compare", study / "run", "--methods", "linear")
    message = f"age: {folder / 'predictions-age.tsv'}: cannot be written (Is a directory)"
    assert done.code == 1 and "cannot be written (Is a directory)" in done.out
    written = sorted(path.name for path in folder.glob("*.tsv") if path.is_file())
    assert written == ["predictions-score.tsv", "predictions-sex.tsv"]
    assert json.loads((folder / "record.json").read_text())["failed"].startswith(message)
    (folder / "predictions-age.tsv").rmdir()
    assert metavoxel("compare", study / "run", "--methods", "linear").code == 0
    record = json.loads((folder / "record.json").read_text())
    assert record["failed"] is None and list(record["targets"]) == ["sex", "score", "age"]
