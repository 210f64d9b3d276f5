"""Cohorts of pictures and reports as folders."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metavoxel.cohort.phantoms.reports import (
    ReportSettings,
    parse_report,
    read_picture,
    read_report_truth,
    report_settings,
    write_report_phantom,
    write_report_schema,
)
from metavoxel.errors import CohortError


def write(folder, **settings):
    for _ in write_report_phantom(folder, ReportSettings(**{"subjects": 6, "pixels": 32, **settings})):
        pass
    return folder


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_table_pictures_and_truth_agree(tmp_path):
    folder = write(tmp_path / "cohort", subjects=20, pixels=64)
    table = pd.read_csv(folder / "participants.tsv", sep="\t")
    truth = read_report_truth(folder)
    assert list(table.columns) == ["participant_id", "age", "sex", "image", "report"]
    assert truth.settings == ReportSettings(subjects=20) and len(truth.table) == 20
    for row, true in zip(table.to_dict("records"), truth.table.to_dict("records"), strict=True):
        report = parse_report(row["report"])
        assert report.history == true["history"] and report.facts.ventricles == true["ventricles"]
        assert ("no" if report.facts.lesion is None else "yes") == true["lesion"]
        assert true["side"] == "" if report.facts.lesion is None else report.facts.lesion.side == true["side"]
        read = read_picture(np.asarray(Image.open(folder / row["image"])))
        assert read.facts.lesion == report.facts.lesion
        assert true["age_sd_given_both"] < 20.3 and abs(row["age"] - true["age"]) < 1e-6


def test_a_larger_cohort_starts_with_the_smaller_and_resumes(tmp_path):
    small, large = write(tmp_path / "small"), write(tmp_path / "large", subjects=8)
    (small / "pictures" / "sub-00003.png").unlink()
    assert files(write(small, subjects=8)) == files(large)


@pytest.mark.parametrize("change", [{"pixels": 40}, {"noise": 0.1}, {"seed": 1}, {"subjects": 3}])
def test_another_cohort_is_refused(tmp_path, change):
    folder = write(tmp_path / "cohort")
    before = files(folder)
    with pytest.raises(CohortError, match=f"{next(iter(change))}: the existing phantoms have"):
        write(folder, **change)
    assert files(folder) == before


def test_other_folders_are_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CohortError, match="exists and is not a phantom cohort"):
        write(tmp_path)
    with pytest.raises(CohortError, match="no such file: not a cohort of pictures and reports"):
        read_report_truth(tmp_path)


def test_settings_out_of_range_are_all_reported():
    with pytest.raises(CohortError) as caught:
        report_settings({"subjects": 0, "pixels": 60, "spacing": 4})
    assert {problem.where for problem in caught.value.problems} == {"subjects", "pixels", "spacing"}


def test_a_schema_of_the_user_is_kept(tmp_path):
    schema = write_report_schema(tmp_path)
    assert "type: text" in schema.read_text()
    schema.write_text("# mine")
    assert write_report_schema(tmp_path).read_text() == "# mine"
