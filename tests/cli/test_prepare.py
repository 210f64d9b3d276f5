import sys

import nibabel
import numpy as np
import pytest


@pytest.fixture
def scans(tmp_path):
    """Two files that cannot be prepared."""
    folder = tmp_path / "scans"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(1, 99, (30, 30, 30)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(noise - 1024, np.diag([6, 6, 6, 1])), folder / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image(noise, np.diag([1, 1, 1, 1])), folder / "small.nii.gz")
    return folder


def test_all_bad_scans_are_named_at_once(metavoxel, scans, tmp_path):
    found = metavoxel("prepare", scans, "--output", tmp_path / "out", "--extractor", "none")
    assert found.code == 2
    assert "sub-ct (ct.nii.gz)" in found.err and "Hounsfield" in found.err
    assert "sub-small (small.nii.gz)" in found.err and "field of view" in found.err
    assert "2 problems." in found.err
    assert (tmp_path / "out/failures.tsv").read_text().count("\n") == 3


def test_a_missing_extractor_names_the_extra(metavoxel, scans, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepbet", None)
    found = metavoxel("prepare", scans, "--output", tmp_path / "out")
    assert found.code == 2 and 'pip install "metavoxel[prepare]"' in found.err and "--extractor given" in found.err


def test_options_that_are_no_pairs(metavoxel, scans, tmp_path):
    found = metavoxel("prepare", scans, "--output", tmp_path / "out", "--entities", "run")
    assert found.code == 2 and "--entities: 'run' must be NAME=VALUE" in found.err
