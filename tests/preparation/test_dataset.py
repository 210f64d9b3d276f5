import json
import shutil

import pytest
from heads import write_dataset

from metavoxel.cohort.bids import read_bids
from metavoxel.errors import CohortError, RunError
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.preparation.dataset import prepare_dataset
from metavoxel.preparation.settings import PrepareSettings
from metavoxel.runs.bars import finish

SETTINGS = PrepareSettings(extractor="none", spacing=4.0, bias=False)


def _prepare(dataset, output, settings=SETTINGS, **options):
    return finish(prepare_dataset(dataset, output, settings, **options), progress=False)


def _bytes(folder):
    kept = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, brain):
    """A dataset prepared once."""
    folder = write_dataset(tmp_path_factory.mktemp("finished") / "raw", brain)
    return folder, _prepare(folder, folder / "derivatives/prepared")


@pytest.fixture
def dataset(finished, tmp_path):
    """A copy of the dataset, its derivative included."""
    return shutil.copytree(finished[0], tmp_path / "raw")


@pytest.fixture
def prepared(finished, dataset):
    return dataset / "derivatives/prepared", finished[1]


def test_a_schema_reads_the_derivative_as_it_is(dataset, prepared):
    output, summary = prepared
    assert (summary.prepared, summary.finished, summary.failures) == (3, 0, ())
    frame = read_bids(output, {"T1w": ImageSpec()}).frame
    assert list(frame["participant_id"]) == ["sub-01", "sub-01", "sub-02"]
    assert list(frame["age"]) == ["30", "30", "40"] and list(frame["score"])[:2] == ["1", "2"]
    assert all("space-MNI152NLin2009aSym_desc-preproc_T1w.nii.gz" in cell for cell in frame["T1w"])
    below = read_bids(dataset, {"T1w": ImageSpec(entities={"derivative": "prepared"})}).frame
    assert len(below) == 3


def test_sidecars_and_description(prepared):
    output, _ = prepared
    name = "sub-01/ses-2/anat/sub-01_ses-2_space-MNI152NLin2009aSym_desc-preproc_T1w.json"
    sidecar = json.loads((output / name).read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"]
    assert sidecar["SkullStripped"] is True and sidecar["SpatialReference"] == "MNI152NLin2009aSym"
    record = sidecar["Preparation"]
    assert record["Baseline"] and record["Quality"]["correlation"] > 0.9 and record["Versions"]["metavoxel"]
    description = json.loads((output / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["DatasetLinks"] == {"raw": "../.."}
    assert (output / "figures/sub-02_registered.png").is_file()


def test_repeated_it_keeps_finished_scans_and_makes_lost_ones_the_same(dataset, prepared):
    output, _ = prepared
    before = _bytes(output)
    assert _prepare(dataset, output).finished == 3
    # As if killed after the second subject's image, before its sidecar.
    (output / "sub-02/anat/sub-02_space-MNI152NLin2009aSym_desc-preproc_T1w.json").unlink()
    (output / "sub-02/anat/sub-02_desc-brain_mask.nii.gz").unlink()
    (output / ".work/sub-02").mkdir(parents=True)
    again = _prepare(dataset, output)
    assert (again.prepared, again.finished) == (1, 2)
    assert _bytes(output) == before


@pytest.mark.slow
def test_a_changed_input_is_prepared_again_and_its_follow_ups(dataset, prepared):
    output, _ = prepared
    scans = [dataset / f"sub-01/ses-{n}/anat/sub-01_ses-{n}_T1w.nii.gz" for n in (1, 2)]
    shutil.copy(scans[1], scans[0])
    again = _prepare(dataset, output)
    assert (again.prepared, again.finished) == (2, 1)


def test_one_bad_scan_costs_itself_alone(dataset, tmp_path):
    shutil.rmtree(dataset / "sub-01")
    bad = dataset / "sub-03/anat/sub-03_T1w.nii.gz"
    bad.parent.mkdir(parents=True)
    bad.write_bytes((dataset / "sub-02/anat/sub-02_T1w.nii.gz").read_bytes()[:3000])
    summary = _prepare(dataset, tmp_path / "out")
    assert summary.prepared == 1
    (failure,) = summary.failures
    assert failure.subject == "sub-03" and "truncated" in failure.problem
    assert not list((tmp_path / "out").glob("sub-03/anat/*"))
    rows = (tmp_path / "out/failures.tsv").read_text().splitlines()
    assert rows[0] == "participant_id\tsession_id\tsource\tproblem" and rows[1].startswith("sub-03\tn/a")
    shutil.rmtree(dataset / "sub-03")
    assert _prepare(dataset, tmp_path / "out").finished == 1
    assert not (tmp_path / "out/failures.tsv").exists()


@pytest.mark.slow
def test_two_workers_make_the_bytes_of_one(dataset, prepared, tmp_path):
    output, _ = prepared
    assert _prepare(dataset, tmp_path / "out", workers=2).prepared == 3
    kept = {name: content for name, content in _bytes(output).items() if name != "dataset_description.json"}
    found = _bytes(tmp_path / "out")
    assert {name: found[name] for name in kept} == kept


def test_folders_that_cannot_be_used(dataset, tmp_path):
    with pytest.raises(RunError, match="dataset itself"):
        _prepare(dataset, dataset)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other files"):
        _prepare(dataset, tmp_path / "full")
    with pytest.raises(CohortError, match="no such extractor"):
        _prepare(dataset, tmp_path / "out", SETTINGS.model_copy(update={"extractor": "deepbett"}))
    with pytest.raises(CohortError, match="goes with"):
        _prepare(dataset, tmp_path / "out", masks=tmp_path)


def test_a_full_disk_is_named_before_anything_is_computed(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(RunError, match="GB are free"):
        _prepare(dataset, tmp_path / "out")
