"""Warnings about readable cohorts."""

import math

import numpy as np
import pytest

from metavoxel.cohort.read import read_cohort
from metavoxel.cohort.warnings import cohort_warnings
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.schema.settings import CohortSettings


def warned(folder, lines, *, judged=True, **variables):
    """Warnings of a table, without that of small validation parts unless ``judged`` is False."""
    (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    cohort = read_cohort(variables, CohortSettings(table="t.csv", missing=["n/a"]), folder=folder)
    found = list(map(str, cohort_warnings(cohort)))
    return [line for line in found if not (judged and line.startswith("cohort.split: the validation part has"))]


def rows(header, row, count=20):
    return [f"participant_id,{header}", *(f"s{number},{row(number)}" for number in range(count))]


def test_uninformative_columns(tmp_path):
    lines = rows("c,dx,site,s2,x", lambda n: f"3,{'case' if n == 3 else 'control'},A,{'PQ'[n % 2]},{n}")
    found = warned(
        tmp_path,
        lines,
        c=ContinuousSpec(),
        dx=CategoricalSpec(categories=["control", "case"]),
        site=CategoricalSpec(categories=["A", "B"]),
        s2=CategoricalSpec(categories=["P", "Q", "R", "S"]),
        x=ContinuousSpec(),
    )
    assert [line.split(":")[0] for line in found] == ["variables.c", "variables.dx"] + ["variables.site"] * 2 + [
        "variables.s2"
    ]
    assert "all 20 values are 3.0" in found[0]
    assert "only one row has label 'case'" in found[1]
    assert "all 20 values are A" in found[2] and "no row has label 'B'" in found[3]
    assert "no row has labels 'R', 'S'" in found[4]


@pytest.mark.parametrize("cells", [["F", "M"], ["F", "M", "n/a"]])
def test_a_plain_cohort_gives_no_warning(tmp_path, cells):
    lines = rows("age,sex", lambda n: f"{20 + n},{cells[n % len(cells)]}")
    assert warned(tmp_path, lines, age=ContinuousSpec(), sex=CategoricalSpec(categories=["F", "M"])) == []


def test_subjects_that_look_the_same(tmp_path):
    lines = rows("x", lambda n: f"{n}")
    lines[3] = "s 1\u00a0b,3"
    lines[4] = "s 1 b,4"
    (line,) = warned(tmp_path, lines, x=ContinuousSpec())
    assert line == "subjects 's 1\\xa0b' and 's 1 b': look the same, and differ in NO-BREAK SPACE (U+00A0)"


def test_labels_with_two_meanings(tmp_path):
    found = warned(tmp_path, rows("dx", lambda n: str(1 + n % 2)), dx=CategoricalSpec(categories={"0": "1", "1": "2"}))
    assert len(found) == 1 and found[0].startswith("variables.dx: label '1' is also the code of label '0'")


def test_numbers_rounded_in_tables_to_their_spread(tmp_path):
    lines = rows(
        "day,stamp,iso,age", lambda n: f"{2459945 + n / 50:.2f},{1700000000 + 60 * n},{2459945 + n},{20 + n / 10:.1f}"
    )
    found = warned(
        tmp_path, lines, day=ContinuousSpec(), stamp=ContinuousSpec(), iso=ContinuousSpec(), age=ContinuousSpec()
    )
    assert len(found) == 1
    assert found[0].startswith("variables.day: tables show these numbers in steps of 1, and their sd is 0.12: subtract")


def test_a_validation_part_too_small_for_reliable_errors(tmp_path):
    """The default split validates on a tenth."""
    variables = {"age": ContinuousSpec(), "sex": CategoricalSpec(categories=["F", "M"])}
    row = "{:.1f},{}".format
    found = warned(tmp_path, rows("age,sex", lambda n: row(20 + n / 7, "FM"[n % 2]), 40), judged=False, **variables)
    assert len(found) == 1 and found[0].startswith("cohort.split: the validation part has 4 rows, and 10 or more are")
    assert "mostly those of the Gaussian baseline: raise cohort.split.validation" in found[0]
    found = warned(tmp_path, rows("age,sex", lambda n: row(20 + n / 7, "FM"[n % 2]), 100), judged=False, **variables)
    assert found == []
    lines = rows("age,sex", lambda n: row(20 + n / 7, "FM"[n % 2] if n % 3 else "n/a"), 120)
    cohort = read_cohort(variables, CohortSettings(table="t.csv", missing=["n/a"]), folder=write(tmp_path, lines))
    rows_with = int(cohort.columns["sex"].present[cohort.parts["validation"]].sum())
    assert 0 < rows_with < 10
    (problem,) = cohort_warnings(cohort)
    assert f"has few rows with sex ({rows_with}), and 10 or more" in str(problem)


def write(folder, lines):
    (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (["test", "test", "validation"], "no training row has label 'case' (3 rows of the cohort do): its probability"),
        (["train", "test", "validation"], "only one training row has label 'case' (3 rows of the cohort do): too few"),
        (["train", "train", "test"], None),
    ],
)
def test_labels_absent_from_the_training_part(tmp_path, parts, found):
    def row(n):
        part = parts[n] if n < 3 else "validation" if n < 13 else "test" if n == 13 else "train"
        return f"{'case' if n < 3 else 'control'},{part}"

    write(tmp_path, rows("dx,part", row, 40))
    settings = CohortSettings(table="t.csv", split={"column": "part"})
    cohort = read_cohort({"dx": CategoricalSpec(categories=["control", "case"])}, settings, folder=tmp_path)
    lines = list(map(str, cohort_warnings(cohort)))
    if found is None:
        assert lines == []
    else:
        assert len(lines) == 1 and lines[0].startswith(f"variables.dx: {found}")
        assert lines[0].endswith(
            "divide the rows by cohort.split.stratify: [dx], merge it with another label, or leave it out"
        )


def test_a_column_far_from_normal_has_one_warning(tmp_path):
    """Located, and absent under the suggested setting."""
    values = np.random.default_rng(0).lognormal(2, 1.2, 60)
    lines = rows("crp", lambda n: f"{values[n]:.6f}", 60)
    (line,) = warned(tmp_path, lines, crp=ContinuousSpec())
    skewness = ((values - values.mean()) ** 3).mean() / values.std() ** 3
    assert line.startswith("variables.crp: never negative and skewed to the right")
    assert f"(skewness {skewness:.1f}): set 'transform: log'" in line and math.isfinite(skewness)
    assert warned(tmp_path, lines, crp=ContinuousSpec(transform="log")) == []
    assert warned(tmp_path, lines, crp=ContinuousSpec(transform="quantile")) == []


def test_values_without_a_mean_that_are_repeated_between_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(CategoricalSpec, "has_mean", False)
    (line,) = warned(tmp_path, rows("sex", lambda n: "FM"[n % 2], 200), sex=CategoricalSpec(categories=["F", "M"]))[:1]
    assert line.startswith("variables.sex: ") and " values of the validation part are also in the training part" in line
