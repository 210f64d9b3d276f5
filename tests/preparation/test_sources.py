import pytest

from metavoxel.errors import CohortError
from metavoxel.preparation.sources import find_scans


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def test_bids_visits_in_order_and_derived_images_left_out(dataset):
    _touch(dataset / "sub-02/anat/sub-02_space-MNI_T1w.nii.gz")
    found = find_scans(dataset, {})
    assert [scan.name for scans in found.scans.values() for scan in scans] == ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]
    assert not found.failures


def test_duplicate_runs_cost_their_visit_alone(dataset):
    for run in ("1", "2"):
        _touch(dataset / f"sub-03/anat/sub-03_run-{run}_T1w.nii.gz")
    found = find_scans(dataset, {})
    (failure,) = found.failures
    assert failure.subject == "sub-03" and "run: 1 or run: 2" in failure.problem
    assert set(found.scans) == {"sub-01", "sub-02"}
    last = find_scans(dataset, {"run": "last"})
    assert last.scans["sub-03"][0].path.name == "sub-03_run-2_T1w.nii.gz"


def test_a_folder_of_files_names_subjects_by_them(tmp_path):
    for name in ("p_01.nii.gz", "p-02.nii", "p02.nii.gz", "notes.txt", "._p.nii"):
        _touch(tmp_path / name)
    found = find_scans(tmp_path, {})
    assert set(found.scans) == {"sub-p01"}
    assert "p-02.nii and p02.nii.gz" in found.failures[0].problem


def test_masks_are_found_by_visit_or_by_name(dataset, tmp_path):
    _touch(tmp_path / "masks/sub-02/anat/sub-02_desc-brain_mask.nii.gz")
    found = find_scans(dataset, {}, tmp_path / "masks")
    assert set(found.scans) == {"sub-02"} and found.scans["sub-02"][0].mask is not None
    assert [failure.session for failure in found.failures] == ["ses-1", "ses-2"]


@pytest.mark.parametrize("entities", [{"suffix": "PDw"}, {"nothing": "1"}])
def test_nothing_to_prepare_is_an_error(dataset, entities):
    with pytest.raises(CohortError, match=r"no image with|not a BIDS entity"):
        find_scans(dataset, entities)


def test_empty_and_absent_folders(tmp_path):
    with pytest.raises(CohortError, match="neither BIDS images"):
        find_scans(tmp_path, {})
    with pytest.raises(CohortError, match="no such folder"):
        find_scans(tmp_path / "nowhere", {})
