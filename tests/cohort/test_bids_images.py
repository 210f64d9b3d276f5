import pytest

from metavoxel.cohort.bids_images import choose_images
from metavoxel.cohort.visit import Visit


def _touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"\x1f\x8b content")


def _chosen(folder, **entities):
    images = choose_images(folder, {"x": entities})
    assert not images.problems, images.problems
    return {str(visit): paths["x"] for visit, paths in images.paths.items()}


@pytest.fixture
def recon(tmp_path):
    """Twelve subjects with a T1w, every third with a second one, reconstructed with rec-norm."""
    for s in range(1, 13):
        _touch(tmp_path, f"sub-{s:02}/anat/sub-{s:02}_T1w.nii.gz")
        if s % 3 == 0:
            _touch(tmp_path, f"sub-{s:02}/anat/sub-{s:02}_rec-norm_T1w.nii.gz")
    return tmp_path


def test_null_selects_the_file_without_the_entity(recon):
    assert _chosen(recon, rec=None) == {f"sub-{s:02}": f"sub-{s:02}/anat/sub-{s:02}_T1w.nii.gz" for s in range(1, 13)}
    assert sorted(_chosen(recon, rec="norm")) == ["sub-03", "sub-06", "sub-09", "sub-12"]


def test_several_files_are_one_problem_that_lists_the_entities(recon):
    (problem,) = choose_images(recon, {"x": {}}).problems
    assert str(problem) == (
        f"{recon} sub-03, variable x: 2 images with {{suffix: T1w}}: sub-03/anat/sub-03_T1w.nii.gz, "
        "sub-03/anat/sub-03_rec-norm_T1w.nii.gz; add entities that distinguish them: rec: null or rec: norm. "
        "3 more visits have the same conflict, such as sub-06"
    )


def test_first_and_last_run_of_each_visit(tmp_path):
    _touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    _touch(tmp_path, *(f"sub-2/anat/sub-2_run-{run}_T1w.nii.gz" for run in ("2", "03", "10")))
    _touch(tmp_path, *(f"sub-3/ses-{k}/anat/sub-3_ses-{k}_run-{k + 1}_T1w.nii.gz" for k in (1, 2)))
    single = {"sub-1": "sub-1/anat/sub-1_T1w.nii.gz"} | {
        f"sub-3 ses-{k}": f"sub-3/ses-{k}/anat/sub-3_ses-{k}_run-{k + 1}_T1w.nii.gz" for k in (1, 2)
    }
    assert _chosen(tmp_path, run="first") == single | {"sub-2": "sub-2/anat/sub-2_run-2_T1w.nii.gz"}
    assert _chosen(tmp_path, run="last") == single | {"sub-2": "sub-2/anat/sub-2_run-10_T1w.nii.gz"}


def test_two_files_of_one_name_differ_in_extension(tmp_path):
    _touch(tmp_path, "sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_T1w.nii.gz")
    (problem,) = choose_images(tmp_path, {"x": {}}).problems
    assert problem.what.endswith("distinguish them: extension: .nii or extension: .nii.gz")
    assert _chosen(tmp_path, extension=".nii") == {"sub-1": "sub-1/anat/sub-1_T1w.nii"}


SPACE = "space-MNI152NLin2009cAsym"


@pytest.fixture
def derivative(tmp_path):
    """Two subjects of a dataset with fMRIPrep derivatives of a T1w image."""
    for s in (1, 2):
        _touch(tmp_path, f"sub-{s}/anat/sub-{s}_T1w.nii.gz")
        for stem in ("desc-preproc_T1w", f"{SPACE}_desc-preproc_T1w", f"{SPACE}_res-2_desc-preproc_T1w",
                     "label-GM_probseg", f"{SPACE}_label-GM_probseg"):  # fmt: skip
            _touch(tmp_path, f"derivatives/fmriprep/sub-{s}/anat/sub-{s}_{stem}.nii.gz")
    return tmp_path


@pytest.mark.parametrize(
    ("entities", "stem"),
    [
        ({"desc": "preproc", "space": None}, "desc-preproc_T1w"),
        ({"space": "MNI152NLin2009cAsym", "res": None}, f"{SPACE}_desc-preproc_T1w"),
        ({"space": "MNI152NLin2009cAsym", "resolution": "2"}, f"{SPACE}_res-2_desc-preproc_T1w"),
        ({"suffix": "probseg", "label": "GM", "space": "MNI152NLin2009cAsym"}, f"{SPACE}_label-GM_probseg"),
    ],
)
def test_derivatives_from_their_folder_and_from_their_dataset(derivative, entities, stem):
    within = {f"sub-{s}": f"sub-{s}/anat/sub-{s}_{stem}.nii.gz" for s in (1, 2)}
    assert _chosen(derivative / "derivatives/fmriprep", **entities) == within
    outside = {visit: f"derivatives/fmriprep/{path}" for visit, path in within.items()}
    assert _chosen(derivative, derivative="fmriprep", **entities) == outside


def test_problems_with_derivatives_list_what_exists(derivative):
    (several,) = choose_images(derivative, {"x": {"derivative": "fmriprep"}}).problems
    assert "space: null or space: MNI152NLin2009cAsym; res: null or res: 2. 1 more visits" in several.what
    (unknown,) = choose_images(derivative, {"x": {"derivative": "fmriprp"}}).problems
    assert str(unknown).startswith("variables.x.entities.derivative: ") and "Did you mean 'fmriprep'?" in unknown.what
    (raw,) = choose_images(derivative, {"x": {"space": "MNI152NLin2009cAsym"}}).problems
    assert "suffix T1w have space null. For images in derivatives add 'derivative: fmriprep'" in raw.what


def test_unfetched_images_are_one_problem(tmp_path):
    for s in range(1, 13):
        path = tmp_path / f"sub-{s:02}/anat/sub-{s:02}_T1w.nii.gz"
        if s <= 4:
            _touch(tmp_path, path)
        else:
            path.parent.mkdir(parents=True)
            if s % 2:
                path.symlink_to(f"../../.git/annex/objects/{s}/K")
            else:
                path.write_text(f"/annex/objects/MD5E-s8000--{s:032x}.nii.gz\n")
    (problem,) = choose_images(tmp_path, {"x": {}}).problems
    assert problem.what.startswith(f"8 of 12 images cannot be read, e.g. {tmp_path}/sub-05/anat/sub-05_T1w.nii.gz: ")
    assert "datalad get" in problem.what


def test_sessions_of_all_subjects_are_collected(tmp_path):
    _touch(tmp_path, "sub-1/ses-b/anat/sub-1_ses-b_T2w.nii.gz", "sub-1/anat/sub-1_ses-a_T1w.nii.gz", "sub-2/x.txt")
    images = choose_images(tmp_path, {"x": {}})
    assert images.sessions == {"sub-1": {"ses-a", "ses-b"}, "sub-2": set()}
    assert images.paths == {Visit("sub-1", "ses-a"): {"x": "sub-1/anat/sub-1_ses-a_T1w.nii.gz"}}
