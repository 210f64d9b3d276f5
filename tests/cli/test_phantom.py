"""``metavoxel phantom``: a cohort, its schema, and the Bayes errors."""

import pandas
import pytest

from metavoxel.cohort.phantoms import read_truth
from metavoxel.schema import load_schema


@pytest.mark.slow
def test_all_options(metavoxel, tmp_path):
    cohort = tmp_path / "cohort"
    flags = ["--disease", "--second-contrast", "--site", "--missing", "mar_by_age", "--missing-share", "0.4"]
    where = ["--subjects", "12", "--spacing", "10", "--missing-columns", "sex,site,T2w", "--output", cohort]
    done = metavoxel("phantom", *where, *flags)
    assert done.code == 0, done.err
    assert "phantoms 12/12" in done.err and f"metavoxel train {cohort / 'schema.yaml'}" in done.out
    assert "age: mean absolute error (years)" in done.out and "diagnosis: AUC" in done.out
    schema = load_schema(cohort / "schema.yaml")
    assert list(schema.variables) == ["T1w", "T2w", "age", "sex", "diagnosis", "site"]
    checked = metavoxel("validate", cohort / "schema.yaml")
    assert checked.code == 0 and "12 rows of 12 subjects" in checked.out
    truth = read_truth(cohort)
    assert truth.settings.missing.fraction == 0.4
    table = pandas.read_csv(cohort / "participants.tsv", sep="\t", keep_default_na=False)
    assert list(table.columns) == ["participant_id", "age", "sex", "diagnosis", "site"]
    assert "n/a" not in set(table["diagnosis"]) and "n/a" in set(table["sex"]) | set(table["site"])
    (cohort / "schema.yaml").write_text("# mine\n" + (cohort / "schema.yaml").read_text())
    assert metavoxel("phantom", *where, *flags).code == 0
    assert (cohort / "schema.yaml").read_text().startswith("# mine")


def test_default_options(metavoxel, tmp_path):
    done = metavoxel("phantom", "--subjects", "2", "--spacing", "10", "--output", tmp_path / "cohort")
    assert done.code == 0 and "diagnosis" not in done.out
    assert list(load_schema(tmp_path / "cohort" / "schema.yaml").variables) == ["T1w", "age", "sex"]
    other = metavoxel("phantom", "--subjects", "2", "--spacing", "8", "--output", tmp_path / "cohort")
    assert other.code == 2 and "spacing: the existing phantoms have 10.0, not 8.0" in other.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subjects", "0"], "--subjects: Input should be greater than 0 (given: 0)"),
        (["--spacing", "0.2"], "--spacing: Input should be greater than or equal to 1 (given: 0.2)"),
        (["--missing", "mnar"], "--missing: Input should be 'mcar' or 'mar_by_age' (given: 'mnar')"),
        (["--missing-share", "0.2"], "--missing: choose the rule by which cells are missing: mcar or mar_by_age"),
        (["--missing", "mcar", "--missing-share", "1"], "--missing-share: Input should be less than 1 (given: 1.0)"),
        (["--missing", "mcar", "--missing-columns", "T2w"], "'missing' names T2w, but there is none"),
        (["--missing", "mcar", "--missing-columns", "weight"], "--missing-columns: Input should be 'age', 'sex',"),
        (["--missing", "mar_by_age", "--missing-share", "0.7"], "takes a fraction of at most 0.5"),
    ],
)  # fmt: skip
def test_impossible_cohorts_are_refused(metavoxel, tmp_path, arguments, message):
    done = metavoxel("phantom", "--output", tmp_path / "cohort", *arguments)
    assert done.code == 2 and message in done.err
    assert not (tmp_path / "cohort").exists()


def test_pictures_with_reports(metavoxel, tmp_path):
    where = ["--reports", "--subjects", "5", "--output", tmp_path / "cohort"]
    done = metavoxel("phantom", *where, "--pixels", "32")
    assert done.code == 0, done.err
    assert "from both" in done.out and "pip install metavoxel-text" in done.out
    assert f"metavoxel train {tmp_path / 'cohort' / 'schema.yaml'}" in done.out
    table = pandas.read_csv(tmp_path / "cohort" / "participants.tsv", sep="\t")
    assert list(table.columns) == ["participant_id", "age", "sex", "image", "report"] and len(table) == 5
    other = metavoxel("phantom", *where)
    assert other.code == 2 and "pixels: the existing phantoms have 32, not 64" in other.err
    brains = metavoxel("phantom", "--subjects", "2", "--output", tmp_path / "cohort")
    assert brains.code == 2 and "is from version reports 1 of the generator" in brains.err


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--reports", "--pixels", "60"], ["--pixels: Input should be a multiple of 8 (given: 60)"]),
        (["--reports", "--pixels", "128"], ["--pixels: Input should be less than or equal to 64 (given: 128)"]),
        (["--pixels", "32"], ["--pixels: is for pictures with reports; add --reports"]),
        (["--reports", "--disease", "--spacing", "3"], ["--disease: is for brains; omit it", "--spacing: is for"]),
    ],
)
def test_options_of_the_other_kind_are_refused(metavoxel, tmp_path, arguments, messages):
    done = metavoxel("phantom", "--output", tmp_path / "cohort", *arguments)
    assert done.code == 2 and all(message in done.err for message in messages)
    assert not (tmp_path / "cohort").exists()
