import nibabel
import numpy as np
import pytest

from metavoxel.cohort.read import read_cohort
from metavoxel.errors import CohortError
from metavoxel.parts.variables.base import Recorded
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.schema.settings import CohortSettings


def _study(folder, level=lambda age: 1.0, shift=lambda index: 0.0, codes=lambda index: 2):
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 1, (8, 8, 8))
    rows = ["participant_id\tmap\tage\tsex"]
    for index in range(16):
        age = 20 + 4 * index
        affine = np.diag([4.0, 4, 4, 1])
        affine[:3, 3] = [-14, -14, -14 + shift(index)]
        file = nibabel.Nifti1Image(
            (level(age) * (base + 0.02 * rng.uniform(size=base.shape))).astype(np.float32), affine
        )
        file.set_sform(affine, codes(index))
        file.set_qform(affine, codes(index))
        nibabel.save(file, folder / f"{index}.nii.gz")
        rows.append(f"s{index}\t{index}.nii.gz\t{age}\t{'FM'[index % 2]}")
    (folder / "subjects.tsv").write_text("\n".join(rows) + "\n")


def _warned(folder, image=None):
    specs = {
        "map": image or ImageSpec(),
        "age": ContinuousSpec(range=(10, 90)),
        "sex": CategoricalSpec(categories=["F", "M"]),
    }
    cohort = read_cohort(specs, CohortSettings(table="subjects.tsv"), folder=folder, split=False)
    others = {name: Recorded(spec, cohort.columns[name]) for name, spec in cohort.variables.items()}
    return list(cohort.variables["map"].file_warnings(cohort.columns["map"], others))


def test_consistent_images_give_no_warning(tmp_path):
    _study(tmp_path)
    assert _warned(tmp_path) == []


def test_levels_that_depend_on_a_variable(tmp_path):
    _study(tmp_path, level=lambda age: 100 - age)
    (warning,) = _warned(tmp_path)
    assert "intensity level depends on age" in warning and "intensities: [low, high]" in warning
    assert _warned(tmp_path, ImageSpec(intensities=(0, 90))) == []


def test_levels_that_alone_distinguish_images(tmp_path):
    """Maps that are multiples of each other are equal after scaling by percentiles."""
    _study(tmp_path)
    data = nibabel.load(tmp_path / "0.nii.gz")
    for index in range(16):
        scaled = data.get_fdata() * (1 + (7 * index) % 16)
        nibabel.save(nibabel.Nifti1Image(scaled.astype(np.float32), data.affine), tmp_path / f"{index}.nii.gz")
    assert any("15 equal another after scaling" in warning for warning in _warned(tmp_path))


def test_positions_that_differ(tmp_path):
    _study(tmp_path, shift=lambda index: 24.0 * (index % 2))
    (warning,) = _warned(tmp_path)
    assert "centres lie up to 12 mm from their mean" in warning and "place: box" in warning
    assert _warned(tmp_path, ImageSpec(place="box")) == []


def test_headers_without_orientation(tmp_path):
    _study(tmp_path, codes=lambda index: 0)
    (warning,) = _warned(tmp_path)
    assert "16 of 16 files have no orientation" in warning
    _study(tmp_path, codes=lambda index: 2 * (index % 4 > 0))
    for image in (ImageSpec(), ImageSpec(place="box")):
        with pytest.raises(CohortError, match=r"is one of 4 \(of 16\) files: no orientation in the header"):
            _warned(tmp_path, image)


def test_identical_label_maps_and_absent_labels(tmp_path):
    _study(tmp_path)
    maps = [np.zeros((8, 8, 8), np.uint8) for _ in range(16)]
    for index, data in enumerate(maps):
        nibabel.save(nibabel.Nifti1Image(data, np.diag([4.0, 4, 4, 1])), tmp_path / f"{index}.nii.gz")
    alike, absent = _warned(tmp_path, LabelMapSpec(labels={"background": 0, "lesion": 1}))
    assert "all 16 label maps are the same" in alike
    assert absent.startswith("none of 16 label maps has 'lesion'")
    maps[3][2, 2, 2] = 1
    nibabel.save(nibabel.Nifti1Image(maps[3], np.diag([4.0, 4, 4, 1])), tmp_path / "3.nii.gz")
    assert _warned(tmp_path, LabelMapSpec(labels={"background": 0, "lesion": 1})) == []
