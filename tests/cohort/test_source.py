import pytest
from pydantic import ValidationError

from metavoxel.cohort.source import bids_folder, read_cohort_table
from metavoxel.errors import CohortError
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.schema.settings import CohortSettings


@pytest.fixture
def raw(tmp_path):
    """A raw dataset of one scan, with two derivatives."""
    for place in ("raw", "raw/derivatives/prepared", "raw/derivatives/site/other"):
        anat = tmp_path / place / "sub-01/anat"
        anat.mkdir(parents=True)
        (anat / f"sub-01{'' if place == 'raw' else '_desc-preproc'}_T1w.nii.gz").write_bytes(b"x")
    (tmp_path / "raw/participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")
    return tmp_path


def test_a_derivative_is_found_below_the_raw_folder(raw):
    settings = CohortSettings(bids="raw", derivatives="prepared")
    table = read_cohort_table(settings, {"T1w": ImageSpec()}, raw)
    assert table.frame.to_dict("records") == [
        {"participant_id": "sub-01", "age": "30", "T1w": "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"}
    ]
    nested = CohortSettings(bids="raw", derivatives="site/other")
    assert bids_folder(nested, raw) == raw / "raw/derivatives/site/other"
    assert bids_folder(CohortSettings(bids="raw"), raw) == raw / "raw"


def test_an_unknown_derivative_lists_what_exists(raw):
    with pytest.raises(CohortError, match=r"cohort.derivatives: .*Did you mean 'prepared'\? Available: prepared, site"):
        bids_folder(CohortSettings(bids="raw", derivatives="prepard"), raw)
    with pytest.raises(CohortError, match="no such folder"):
        read_cohort_table(CohortSettings(bids="nowhere", derivatives="prepared"), {"T1w": ImageSpec()}, raw)


def test_it_goes_with_a_bids_folder():
    with pytest.raises(ValidationError, match="'derivatives' names a derivative of 'bids'"):
        CohortSettings(table="a.csv", derivatives="prepared")
