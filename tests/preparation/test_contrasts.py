import json

import numpy as np
import pytest
from heads import moved, other_contrast, pose, write_dataset

from metavoxel.images.files import write_nifti
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.bias import corrected
from metavoxel.preparation.contrasts import prepare_contrast
from metavoxel.preparation.dataset import prepare_dataset
from metavoxel.preparation.extractors import NoExtraction
from metavoxel.preparation.head import prepare_head
from metavoxel.preparation.settings import PrepareSettings
from metavoxel.preparation.sources import find_scans
from metavoxel.runs.bars import finish

SETTINGS = PrepareSettings(extractor="none", spacing=4.0, bias=False)


@pytest.fixture(scope="module")
def first(brain, template):
    head = moved(brain, pose(10, 20, 1))
    return head, prepare_head(head, NoExtraction(), template, spacing=4.0, bias=False)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "angle", "shift"), [("T2w", 12, 20), ("FLAIR", 6, 5)])
def test_another_contrast_lies_on_the_t1w_and_maps_are_composed(brain, first, points, kind, angle, shift):
    head, t1w = first
    between = pose(angle, shift, 5)
    other = moved(other_contrast(brain, kind), between.after(pose(10, 20, 1)))
    found = prepare_contrast(other, head, t1w)
    assert found.rigid.displacement(between.after(t1w.rigid), points).max() < 1.0
    assert found.quality.correlation > 0.7 and found.quality.cut < 0.05
    assert (found.image.data[t1w.mask.data == 0] == 0).all()
    again, _ = Image(corrected(other, found.log_field).data, found.rigid.inverse().moved(other.grid)).onto(
        found.image.grid
    )
    kept = found.mask.data > 0
    assert np.array_equal(np.maximum(again.data, 0)[kept], found.image.data[kept])


def test_an_image_that_misses_the_brain_is_refused(brain, first):
    head, t1w = first
    whole = moved(other_contrast(brain, "T2w"), pose(10, 20, 1))
    third = np.ascontiguousarray(whole.data[:, :, : whole.data.shape[2] // 3])
    with pytest.raises(ValueError, match=r"covers \d+% of the brain in the T1w of its visit"):
        prepare_contrast(Image(third, Grid(third.shape, whole.grid.affine)), head, t1w)


@pytest.fixture
def visits(tmp_path, brain):
    """A dataset whose sub-02 has a FLAIR; sub-03 has one without T1w."""
    folder = write_dataset(tmp_path / "raw", brain)
    for subject, rigid in (("sub-02", pose(15, 10, 3)), ("sub-03", pose(5, 5, 4))):
        path = folder / subject / "anat" / f"{subject}_FLAIR.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, moved(other_contrast(brain, "FLAIR"), rigid))
    for session in ("ses-1", "ses-2"):
        (folder / f"sub-01/{session}/anat/sub-01_{session}_T1w.nii.gz").unlink()
    return folder


def test_contrasts_are_found_by_visit(visits):
    found = find_scans(visits, {}, contrasts=["FLAIR"])
    (scan,) = found.scans["sub-02"]
    assert [one.suffix for one in scan.contrasts] == ["FLAIR"]
    (failure,) = found.failures
    assert failure.subject == "sub-03" and "FLAIR without a usable T1w" in failure.problem


def test_a_dataset_with_another_contrast(visits, tmp_path):
    output = tmp_path / "out"
    summary = finish(prepare_dataset(visits, output, SETTINGS, contrasts=["FLAIR"]), progress=False)
    assert (summary.prepared, summary.finished, len(summary.failures)) == (2, 0, 1)
    name = "sub-02/anat/sub-02_space-MNI152NLin2009aSym_desc-preproc_FLAIR"
    sidecar = json.loads((output / f"{name}.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-02/anat/sub-02_FLAIR.nii.gz"] and sidecar["Preparation"]["Baseline"]
    assert (output / "sub-02/anat/sub-02_from-FLAIR_to-MNI152NLin2009aSym_mode-image_xfm.txt").is_file()
    assert (output / "figures/sub-02_FLAIR.png").is_file()
    rows = [row.split("\t") for row in (output / "quality.tsv").read_text().splitlines()]
    assert [row[2] for row in rows] == ["suffix", "FLAIR", "T1w"]
    again = finish(prepare_dataset(visits, output, SETTINGS, contrasts=["FLAIR"]), progress=False)
    assert (again.prepared, again.finished) == (0, 2)
