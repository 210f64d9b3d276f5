"""Posed brains for tests of the preparation."""

import json
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from metavoxel.images.files import write_nifti
from metavoxel.images.image import Image
from metavoxel.preparation.rigid import Rigid


def pose(angle: float, shift: float, seed: int = 0) -> Rigid:
    """A rotation of ``angle`` degrees about a random axis through the middle of the brain, and a shift in mm."""
    draw = np.random.default_rng(seed)
    axis, way, middle = draw.normal(size=3), draw.normal(size=3), np.array([0.0, -20.0, 10.0])
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(angle) * axis / np.linalg.norm(axis)).as_matrix()
    matrix[:3, 3] = middle - matrix[:3, :3] @ middle + shift * way / np.linalg.norm(way)
    return Rigid(matrix)


def moved(image: Image, rigid: Rigid) -> Image:
    """Move a head by its header alone."""
    return Image(image.data, rigid.moved(image.grid))


def inside(brain: Image) -> np.ndarray:
    """The mask of a phantom of intensity 1000: its resampling left ringing of a few units in the background."""
    return brain.data > 50


def write_dataset(folder: Path, brain: Image) -> Path:
    heads = {"sub-01/ses-1": pose(10, 20, 1), "sub-01/ses-2": pose(20, 20, 2), "sub-02": pose(15, 10, 3)}
    for place, rigid in heads.items():
        path = folder / place / "anat" / f"{place.replace('/', '_')}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        write_nifti(path, moved(brain, rigid))
    (folder / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-02\t40\n")
    (folder / "sub-01/sub-01_sessions.tsv").write_text("session_id\tscore\nses-1\t1\nses-2\t2\n")
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.8.0"}))
    return folder


def other_contrast(brain: Image, kind: str, seed: int = 0) -> Image:
    """An image of another contrast: intensities remapped without order, a shell around the brain, a bias and noise."""
    draw, scale = np.random.default_rng(seed), float(np.percentile(brain.data[brain.data > 50], 98))
    tissue = np.clip(brain.data / scale, 0, 1)
    curves = {"T2w": 1 - 0.8 * tissue, "FLAIR": 0.2 + 2.4 * tissue * (1.15 - tissue)}
    inside = brain.data > 50
    data = np.where(inside, curves[kind], 0)
    shell = binary_dilation(inside, iterations=2) & ~binary_dilation(inside, iterations=1)
    data = np.where(shell, 0.8, data) * (1 + 0.2 * np.linspace(-1, 1, data.shape[1])[:, None])
    return Image((500 * (data + draw.normal(0, 0.02, data.shape))).astype(np.float32), brain.grid)
