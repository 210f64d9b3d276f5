import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from metavoxel.images.files import write_nifti
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.head import load_registration_template
from metavoxel.preparation.rigid import Rigid


def pose(angle: float, shift: float, seed: int = 0) -> Rigid:
    """A rotation of ``angle`` degrees about a random axis through the middle of the brain, and a shift in mm."""
    draw = np.random.default_rng(seed)
    axis, way, middle = draw.normal(size=3), draw.normal(size=3), np.array([0.0, -20.0, 10.0])
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(angle) * axis / np.linalg.norm(axis)).as_matrix()
    matrix[:3, 3] = middle - matrix[:3, :3] @ middle + shift * way / np.linalg.norm(way)
    return Rigid(matrix)


@pytest.fixture(scope="session")
def template():
    return load_registration_template()


@pytest.fixture(scope="session")
def brain(template) -> Image:
    """A brain without skull: the template at 4 mm with noise, times 1000."""
    image = template.image.resampled(4.0)
    noise = np.random.default_rng(0).normal(1, 0.05, image.data.shape)
    return Image((1000 * image.data * noise).astype(np.float32), image.grid)


@pytest.fixture(scope="session")
def points(template):
    """Points of the brain in mm."""
    inside = np.argwhere(template.brain.data > 0.5)[::5000]
    return inside @ template.image.grid.affine[:3, :3].T + template.image.grid.affine[:3, 3]


def moved(image: Image, rigid: Rigid) -> Image:
    """Move a head by its header alone."""
    return Image(image.data, rigid.moved(image.grid))


@pytest.fixture
def dataset(tmp_path, brain) -> Path:
    """BIDS folder: sub-01 with two sessions, sub-02 with one scan and a participants.tsv."""
    folder = tmp_path / "raw"
    heads = {"sub-01/ses-1": pose(10, 20, 1), "sub-01/ses-2": pose(20, 20, 2), "sub-02": pose(15, 10, 3)}
    for place, rigid in heads.items():
        path = folder / place / "anat" / f"{place.replace('/', '_')}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        write_nifti(path, moved(brain, rigid))
    (folder / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-02\t40\n")
    (folder / "sub-01/sub-01_sessions.tsv").write_text("session_id\tscore\nses-1\t1\nses-2\t2\n")
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.8.0"}))
    return folder


def flat_grid(shape=(30, 30, 30), spacing=6.0) -> Grid:
    return Grid(shape, np.diag([spacing, spacing, spacing, 1.0]))
