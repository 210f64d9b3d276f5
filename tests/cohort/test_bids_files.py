import json
import time

import pytest

from metavoxel.cohort.bids_files import derivative_names, index_dataset, raw_dataset
from metavoxel.errors import CohortError


@pytest.fixture
def dataset(tmp_path):
    """A dataset of two subjects, one with sessions; files are empty, since only names are read."""
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz")
    return tmp_path


def _touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


OWN = ["sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz"]


def _paths(folder):
    return [file.path for file in index_dataset(folder).files]


def test_names_and_folders_give_entities(dataset):
    index = index_dataset(dataset)
    assert [file.path for file in index.files] == OWN
    assert index.files[1].entities == {
        "sub": "02", "ses": "a", "suffix": "T1w", "extension": ".nii.gz", "datatype": "anat"
    }  # fmt: skip
    assert index.sessions == {"sub-01": (), "sub-02": ("ses-a",)}
    assert index.notices == ()


@pytest.mark.parametrize(
    "path",
    [
        "sourcedata/sub-01/anat/sub-01_T1w.nii.gz", "derivatives_old/sub-01/anat/sub-01_T1w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz", "code/example/sub-99/anat/sub-99_T1w.nii.gz",
        "__MACOSX/ds/sub-01/anat/sub-01_T1w.nii.gz", ".git/annex/objects/aa/sub-03_T1w.nii.gz",
        "sub-01/anat/._sub-01_T1w.nii.gz", "sub-01/._anat/sub-01_T1w.nii.gz", "nested/sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/old/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.json",
    ],
)  # fmt: skip
def test_stray_files_are_not_indexed(dataset, path):
    _touch(dataset, path)
    assert _paths(dataset) == OWN
    assert index_dataset(dataset).notices == ()


def test_other_names_are_left_out_and_noticed(dataset):
    _touch(
        dataset, "sub-01/anat/sub-01_T1w__dup-01.nii.gz", "sub-01/anat/scan.png", "sub-02/ses-a/anat/sub-03_T1w.nii.gz"
    )
    index = index_dataset(dataset)
    assert [file.path for file in index.files] == OWN
    misnamed, misplaced = map(str, index.notices)
    assert "2 images are left out" in misnamed and "sub-01/anat/scan.png, sub-01/anat/sub-01_T1w__dup-01" in misnamed
    assert "names and folders differ in subject or session: sub-02/ses-a/anat/sub-03_T1w.nii.gz" in misplaced


def test_bidsignore_excludes_files_and_folders(dataset):
    _touch(
        dataset,
        "sub-01/anat/sub-01_acq-bad_T1w.nii.gz",
        "sub-09/anat/sub-09_T1w.nii.gz",
        "sub-08/anat/sub-08_T1w.nii.gz",
    )
    (dataset / ".bidsignore").write_text(
        "# set aside\n**/*acq-bad*\nsub-09/\nsub-08/anat/*\n!sub-08/anat/sub-08_T1w.nii.gz\n"
    )
    assert _paths(dataset) == [*OWN[:1], OWN[1], "sub-08/anat/sub-08_T1w.nii.gz"]
    assert "sub-09" not in index_dataset(dataset).sessions


def test_the_bidsignore_of_a_derivative_is_not_applied(dataset):
    (dataset / ".bidsignore").write_text("*_T1w.nii.gz\n")
    assert _paths(dataset) == []
    (dataset / "dataset_description.json").write_text(json.dumps({"DatasetType": "derivative"}))
    assert _paths(dataset) == OWN


def test_a_broken_bidsignore_is_located(dataset):
    (dataset / ".bidsignore").write_text("!\n")
    with pytest.raises(CohortError, match=r"\.bidsignore: not a list of patterns"):
        index_dataset(dataset)
    (dataset / ".bidsignore").unlink()
    (dataset / ".bidsignore").symlink_to(".git/annex/objects/x")
    with pytest.raises(CohortError, match=r"\.bidsignore: its content is not fetched"):
        index_dataset(dataset)


def test_links_to_folders_are_folders(dataset, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("disk")
    _touch(elsewhere, "sub-03/anat/sub-03_T1w.nii.gz")
    (dataset / "sub-03").symlink_to(elsewhere / "sub-03")
    assert _paths(dataset) == [*OWN, "sub-03/anat/sub-03_T1w.nii.gz"]


def test_the_dataset_of_a_derivative_is_found(dataset):
    _touch(dataset, "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "derivatives/a.txt")
    assert derivative_names(dataset) == ["fmriprep"]
    assert raw_dataset(dataset / "derivatives/fmriprep") == dataset
    assert raw_dataset(dataset) is None


def test_thousands_of_files_are_indexed_in_seconds(tmp_path):
    for number in range(1000):
        folder = tmp_path / f"sub-{number:04}/anat"
        folder.mkdir(parents=True)
        for stem in ("T1w", "T2w", "FLAIR", "acq-hi_T1w", "run-2_T1w"):
            (folder / f"sub-{number:04}_{stem}.nii.gz").touch()
    start = time.monotonic()
    assert len(index_dataset(tmp_path).files) == 5000
    assert time.monotonic() - start < 5
