import json
from pathlib import Path

import pytest
from prepared_cohorts import SETTINGS, write_prepared

from metavoxel.cohort.read import read_cohort
from metavoxel.errors import RunError
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.preparation.cohort_record import read_preparations, read_sidecar, record_preparations
from metavoxel.schema.settings import CohortSettings


@pytest.fixture(scope="module")
def derivative(tmp_path_factory, brain):
    return write_prepared(tmp_path_factory.mktemp("cohort") / "prepared", brain)


def _cohort(folder):
    return read_cohort({"T1w": ImageSpec()}, CohortSettings(bids=folder), folder=Path())


def _sidecars(folder):
    return sorted(folder.glob("sub-*/anat/*desc-preproc_T1w.json"))


def test_a_cohort_prepared_alike_is_recorded_with_its_spread(derivative):
    found, problems = record_preparations(_cohort(derivative))
    record = found["T1w"]
    assert not problems and record.settings == SETTINGS and record.space == "MNI152NLin2009aSym"
    assert record.suffix == "T1w" and record.versions["extractor"] == ["none"]
    assert record.spread["correlation"].median > 0.8 and record.spread["volume"].median > 1000
    again = json.loads(json.dumps({"preparation": {"T1w": record.model_dump(mode="json")}}))
    assert read_preparations(again, Path("run.json")) == found


def test_images_without_sidecars_are_no_preparation_and_no_problem(derivative, tmp_path):
    for sidecar in _sidecars(derivative):
        sidecar.rename(tmp_path / sidecar.name)
    try:
        assert record_preparations(_cohort(derivative)) == ({}, [])
    finally:
        for sidecar in tmp_path.glob("*.json"):
            sidecar.rename(derivative / sidecar.name.split("_")[0] / "anat" / sidecar.name)


def test_a_cohort_prepared_in_several_ways_is_a_problem(derivative):
    sidecar = _sidecars(derivative)[0]
    before = sidecar.read_text()
    changed = json.loads(before)
    changed["Preparation"]["Settings"]["bias"] = True
    sidecar.write_text(json.dumps(changed))
    try:
        found, (problem,) = record_preparations(_cohort(derivative))
    finally:
        sidecar.write_text(before)
    assert not found and "prepared in 2 ways" in problem.what and "bias True" in problem.what


def test_settings_of_a_sidecar_are_compared(derivative):
    sidecar = read_sidecar(str(_sidecars(derivative)[0]).replace(".json", ".nii.gz"))
    assert sidecar.differences(SETTINGS, sidecar.space) == ""
    other = sidecar.differences(SETTINGS.model_copy(update={"spacing": 2.0}), sidecar.space)
    assert other == "spacing 8.0 (training: 2.0)"
    assert read_sidecar(derivative / "nothing.nii.gz") is None and read_sidecar("picture.png") is None


def test_a_run_without_a_record_and_a_damaged_one():
    assert read_preparations({}, Path("run.json")) == {}
    with pytest.raises(RunError, match=r"run.json: its key 'preparation' is damaged"):
        read_preparations({"preparation": {"T1w": {"settings": 3}}}, Path("run.json"))
