"""``--prepare``: native scans, given to a run whose images were prepared."""

import shutil

import numpy as np
import pandas
import pytest
from heads import moved, pose
from prepared_cohorts import train_prepared

import metavoxel as mv
from metavoxel.images.files import write_nifti
from metavoxel.images.image import Image
from metavoxel.preparation.template import load_template


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A run on prepared brains, and one native head in a folder of its own, tilted and shifted by its header."""
    folder = tmp_path_factory.mktemp("prepared study")
    image = load_template()[0].resampled(4.0)
    brain = Image((1000 * image.data).astype(np.float32), image.grid)
    train_prepared(folder, brain)
    scan = folder / "new/sub-a/anat/sub-a_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    write_nifti(scan, moved(brain, pose(25, 20)))
    (folder / "new.csv").write_text("participant_id,T1w\na,new/sub-a/anat/sub-a_T1w.nii.gz\n")
    return folder


def test_predict_prepares_a_native_scan_and_prints_its_figures(metavoxel, study, tmp_path):
    output = tmp_path / "age.tsv"
    found = metavoxel("predict", study / "run", study / "new.csv", "--target", "age", "--prepare", "--output", output)
    assert found.code == 0 and "Prepared new.csv row 2" in found.out and "correlation 0." in found.out
    assert "do not look like" not in found.err
    again = metavoxel("predict", study / "run", study / "new", "--target", "age", "--prepare", "--output", output)
    assert again.code == 0 and "Prepared new (sub-a)" in again.out
    assert (tmp_path / "age_prepared/figures/sub-a_registered.png").is_file()
    sampled = metavoxel(
        "sample", study / "run", "-n", "1", "--steps", "2", "--given", f"T1w={study}/new/sub-a/anat/sub-a_T1w.nii.gz",
        "--prepare", "--output", tmp_path / "drawn",
    )  # fmt: skip
    assert sampled.code == 0 and "Prepared --given" in sampled.out and "do not look like" not in sampled.err


def test_without_it_an_unprepared_scan_is_a_warning(metavoxel, study, tmp_path):
    found = metavoxel("predict", study / "run", study / "new.csv", "--target", "age", "--output", tmp_path / "a.tsv")
    assert found.code == 0
    assert "T1w: 1 of 1 scans do not look like the training scans: new.csv row 2" in found.err
    assert "--prepare" in found.err
    own = metavoxel("predict", study / "run", "--target", "age", "--output", tmp_path / "a.tsv")
    assert own.code == 0 and "do not look like" not in own.err


@pytest.mark.slow
def test_from_python(study, tmp_path):
    model = mv.load(study / "run")
    found = mv.prepare_like(study / "run", study / "new", tmp_path / "out")
    assert len(model.predict(found.table, "age")) == 1 and found.scans[0].quality.correlation > 0.8


def test_misuse_is_named(metavoxel, study, scan_study, tmp_path):
    output = tmp_path / "a.tsv"
    own = metavoxel("predict", study / "run", "--target", "age", "--prepare", "--output", output)
    assert own.code == 2 and "--prepare: is for new scans" in own.err
    table = pandas.read_csv(scan_study / "people.csv")
    table.to_csv(tmp_path / "t.csv", index=False)
    other = metavoxel(
        "predict", scan_study / "run", tmp_path / "t.csv", "--target", "age", "--prepare", "--output", output
    )
    assert other.code == 2 and "were not prepared by metavoxel prepare" in other.err
    mask = metavoxel(
        "sample", study / "run", "--given", "T1w=a.nii.gz", "--mask", "T1w=m.nii.gz", "--prepare", "--output", tmp_path / "s"
    )  # fmt: skip
    assert mask.code == 2 and "--mask: is drawn on a prepared image" in mask.err
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
