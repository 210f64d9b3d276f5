"""The public cohort ds000228, read without changes."""

import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import read_cohort
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.schema.settings import CohortSettings, SplitSettings

DATA = Path(__file__).parents[3] / "shared" / "data" / "ds000228"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/ds000228")

SCALARS = {
    "age": ContinuousSpec(column="Age", range=(3, 40), transform="log", unit="years"),
    "sex": CategoricalSpec(column="Gender", categories=["F", "M"]),
}
SPLIT = SplitSettings(train=0.75, validation=0.1, test=0.15, seed=0, stratify=["sex"])


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    image = ImageSpec(path="{participant_id}/anat/{participant_id}_space-MNI152_T1w.nii.gz", spacing=4.0)
    settings = CohortSettings(table="participants.tsv", missing=["n/a", ""], split=SPLIT)
    start = time.monotonic()
    cohort = read_cohort({"T1w": image, **SCALARS}, settings, folder=DATA, multiples={"T1w": 8})
    assert time.monotonic() - start < 60, "124 small volumes must be read in seconds"
    return cohort


def test_rows_parts_and_shape(cohort):
    assert len(cohort) == 124
    assert all(column.present.all() for column in cohort.columns.values())
    assert cohort.variables["T1w"].shape == (40, 48, 40)
    assert {part: len(rows) for part, rows in cohort.parts.items()} == {"train": 93, "validation": 12, "test": 19}
    female = (cohort.columns["sex"].read(range(124)) == 0).double()
    for rows in cohort.parts.values():
        assert abs(female[rows].mean() - female.mean()) < 1.5 / len(rows)


def test_world_coordinates_survive(cohort):
    spec = cohort.variables["T1w"]
    for row in (0, 60, 123):
        cell = cohort.columns["T1w"].cells[row]
        file = nibabel.load(cell)
        grid = spec.grid(cell)
        inside = spec.inside(cell)[0].numpy()
        voxels = np.argwhere(inside)
        mm = voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        old = (mm - file.affine[:3, 3]) @ np.linalg.inv(file.affine[:3, :3]).T
        smooth = gaussian_filter(file.get_fdata(), 0.9, mode="nearest")
        expected = map_coordinates(smooth, old.T, order=1, mode="nearest")
        found = cohort.columns["T1w"].read([row])[0, 0].numpy()[inside]
        assert np.corrcoef(found, expected)[0, 1] > 0.995
        moved = map_coordinates(smooth, old.T + np.array([[1], [0], [0]]), order=1, mode="nearest")
        assert np.corrcoef(found, moved)[0, 1] < 0.985, "an offset of half a voxel must be detected"
        mirrored = map_coordinates(smooth, (file.shape[0] - 1 - old.T[0], *old.T[1:]), order=1, mode="nearest")
        assert np.corrcoef(found, mirrored)[0, 1] < 0.985


def test_the_same_cohort_as_a_bids_folder(cohort):
    image = ImageSpec(entities={"suffix": "T1w", "space": "MNI152"}, spacing=4.0)
    settings = CohortSettings(bids=DATA, missing=["n/a", ""], split=SPLIT)
    other = read_cohort({"T1w": image, **SCALARS}, settings, folder=DATA, multiples={"T1w": 8})
    assert other.variables["T1w"].shape == (40, 48, 40)
    for part, rows in cohort.parts.items():
        subjects = {cohort.subjects[row] for row in rows.tolist()}
        assert subjects == {other.subjects[row] for row in other.parts[part].tolist()}
