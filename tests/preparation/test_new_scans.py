import numpy as np
import pandas
import pytest
from heads import moved, other_contrast, pose
from prepared_cohorts import SETTINGS

from metavoxel.cohort.table import Table
from metavoxel.errors import CohortError, CohortWarning, EvidenceError
from metavoxel.images.files import read_image, write_nifti
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.preparation.cohort_record import CohortPreparation
from metavoxel.preparation.extractors import NoExtraction
from metavoxel.preparation.head import prepare_head
from metavoxel.preparation.new_scans import native_specs, prepare_rows, require_preparation
from metavoxel.preparation.settings import versions
from metavoxel.runs.bars import finish
from metavoxel.schema.settings import CohortSettings

RECORD = CohortPreparation(
    settings=SETTINGS,
    versions={name: [version] for name, version in versions("none").items()},
    space="MNI152NLin2009aSym",
    suffix="T1w",
    spread={},
)
SPECS = {"T1w": ImageSpec(), "age": ContinuousSpec()}
COHORT = CohortSettings(table="people.csv")


def _table(folder, rows):
    frame = pandas.DataFrame(rows, dtype=object)
    return Table(frame, folder, "people.csv", [f"people.csv row {row + 2}" for row in range(len(frame))])


def _prepare(table, output, preparations=None, specs=SPECS):
    preparations = {"T1w": RECORD} if preparations is None else preparations
    return finish(prepare_rows(table, specs, preparations, ["T1w"], output, COHORT), progress=False)


@pytest.mark.slow
def test_another_contrast_is_prepared_with_its_t1w(scans, tmp_path, brain):
    write_nifti(tmp_path / "flair.nii.gz", moved(other_contrast(brain, "FLAIR"), pose(25, 20)))
    row = {"participant_id": "p", "T1w": str(scans / "a.nii.gz"), "FLAIR": str(tmp_path / "flair.nii.gz")}
    both = {"T1w": RECORD, "FLAIR": RECORD.model_copy(update={"suffix": "FLAIR"})}
    specs = {**SPECS, "FLAIR": ImageSpec()}
    work = prepare_rows(_table(scans, [row]), specs, both, ["T1w", "FLAIR"], tmp_path / "out", COHORT)
    found = finish(work, progress=False)
    assert [scan.path.name.split("_")[-1] for scan in found.scans] == ["T1w.nii.gz", "FLAIR.nii.gz"]
    assert found.table.frame["FLAIR"][0] == str(found.scans[1].path)
    with pytest.raises(EvidenceError, match="FLAIR was registered to the T1w of its visit"):
        require_preparation(both, specs, ["FLAIR"])


@pytest.fixture(scope="module")
def scans(tmp_path_factory, brain):
    folder = tmp_path_factory.mktemp("scans")
    write_nifti(folder / "a.nii.gz", moved(brain, pose(25, 20)))
    (folder / "bad.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:3000])
    return folder


def test_a_native_scan_becomes_what_a_preparation_makes_of_it(scans, tmp_path, template):
    rows = [{"participant_id": "p-1", "T1w": "a.nii.gz"}, {"participant_id": "p2", "T1w": "n/a"}]
    found = _prepare(_table(scans, rows), tmp_path / "out")
    (scan,) = found.scans
    expected = prepare_head(read_image(scans / "a.nii.gz"), NoExtraction(), template, spacing=8.0, bias=False)
    assert np.array_equal(read_image(scan.path).data, expected.image.data)
    assert list(found.table.frame["T1w"]) == [str(scan.path), "n/a"]
    assert scan.quality == pytest.approx(expected.quality) and not scan.reasons
    assert str(scan).startswith("people.csv row 2 (sub-p1): correlation 0.")
    assert (tmp_path / "out/quality.tsv").is_file() and (tmp_path / "out/figures/sub-p1_registered.png").is_file()


def test_a_bad_scan_is_named_with_its_row_and_the_others_are_kept(scans, tmp_path):
    rows = [{"participant_id": "p1", "T1w": "bad.nii.gz"}, {"participant_id": "p1", "T1w": "gone.nii.gz"}]
    with pytest.raises(CohortError) as caught:
        _prepare(_table(scans, rows), tmp_path / "out")
    first, second = sorted(map(str, caught.value.problems))
    assert "people.csv row 2, variable T1w" in first and "truncated" in first
    assert "people.csv row 3, variable T1w" in second and "cannot be read" in second


def test_other_software_is_a_warning(scans, tmp_path):
    old = RECORD.model_copy(update={"versions": {**RECORD.versions, "numpy": ["1.0"]}})
    with pytest.warns(CohortWarning, match="numpy 1.0"), pytest.raises(CohortError):
        _prepare(_table(scans, [{"participant_id": "p", "T1w": "bad.nii.gz"}]), tmp_path / "out", {"T1w": old})


def test_what_cannot_be_prepared_is_refused_in_words(scans, tmp_path):
    table = _table(scans, [{"participant_id": "p", "T1w": "a.nii.gz"}])
    with pytest.raises(EvidenceError, match="were not prepared by metavoxel prepare"):
        _prepare(table, tmp_path / "out", {})
    with pytest.raises(EvidenceError, match="no image is given"):
        require_preparation({"T1w": RECORD}, SPECS, ["age"])
    given = RECORD.model_copy(update={"settings": SETTINGS.model_copy(update={"extractor": "given"})})
    with pytest.raises(EvidenceError, match="brain masks from files"):
        _prepare(table, tmp_path / "out", {"T1w": given})
    pattern = {"T1w": ImageSpec(path="{participant_id}.nii.gz")}
    with pytest.raises(EvidenceError, match="located by a pattern"):
        _prepare(table, tmp_path / "out", specs=pattern)


def test_native_images_of_a_bids_folder_are_selected():
    spec = ImageSpec(entities={"derivative": "prepared", "space": "MNI152NLin2009aSym", "run": "last"})
    found = native_specs({"T1w": spec, "age": ContinuousSpec()}, {"T1w": RECORD})
    assert found["T1w"].entities == {"run": "last", "suffix": "T1w", "space": None, "desc": None}
