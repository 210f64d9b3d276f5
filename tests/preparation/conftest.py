from pathlib import Path

import numpy as np
import pytest
from heads import write_dataset

from metavoxel.images.image import Image
from metavoxel.preparation.head import load_registration_template


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


@pytest.fixture
def dataset(tmp_path, brain) -> Path:
    """BIDS folder: sub-01 with two sessions, sub-02 with one scan and a participants.tsv."""
    return write_dataset(tmp_path / "raw", brain)
