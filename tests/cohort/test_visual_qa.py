import json

import pytest

from metavoxel.cohort.read import read_cohort
from metavoxel.errors import CohortError
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.schema.settings import CohortSettings

HEADER = "participant_id\tsession_id\trater\tdecision\tnote\toutput\ttime"


def _cohort(folder, rows):
    (folder / "qa.tsv").write_text("\n".join([HEADER, *rows]) + "\n")
    table = ["participant_id,session_id,age", "01,1,30", "01,2,31", "sub-02,1,40", "03,1,50"]
    (folder / "people.csv").write_text("\n".join(table) + "\n")
    settings = CohortSettings(table="people.csv", qa="qa.tsv")
    return read_cohort({"age": ContinuousSpec(range=(0, 100))}, settings, folder=folder, split=False)


def test_dropped_scans_are_left_out_and_listed(tmp_path):
    cohort = _cohort(
        tmp_path,
        ["sub-01\tses-2\tAnn\tdrop\tn/a\th\tt", "sub-02\tses-1\tAnn\tdrop\tn/a\th\tt", "sub-02\tses-1\tBob\tkeep\tn/a\th\tt",
         "sub-03\tses-1\tAnn\tflag\tn/a\th\tt", "sub-03\tses-1\tBob\tkeep\tn/a\th\tt"],
    )  # fmt: skip
    assert list(cohort.frame["age"]) == ["30", "50"]
    assert "2 rows were dropped by raters: sub-01 ses-2" in str(cohort.notices[0])


def test_a_decision_on_an_earlier_image_is_ignored(tmp_path):
    anat = tmp_path / "sub-02/ses-1/anat"
    anat.mkdir(parents=True)
    (anat / "sub-02_ses-1_desc-preproc_T1w.json").write_text(json.dumps({"Preparation": {"Output": "new"}}))
    cohort = _cohort(tmp_path, ["sub-02\tses-1\tAnn\tdrop\tn/a\told\tt"])
    assert len(cohort.frame) == 4 and "prepared again: sub-02 ses-1" in str(cohort.notices[0])


def test_another_table_is_refused(tmp_path):
    (tmp_path / "qa.tsv").write_text("name\tx\na\t1\n")
    (tmp_path / "people.csv").write_text("participant_id,age\n01,30\n")
    with pytest.raises(CohortError, match="no column 'participant_id'"):
        read_cohort(
            {"age": ContinuousSpec(range=(0, 100))}, CohortSettings(table="people.csv", qa="qa.tsv"), folder=tmp_path
        )
