"""Starts of a registration: rotations, centroids and grids."""

import numpy as np
import pytest

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.starts import aligned_grid, all_rotations, centroid, near_rotations

TILT = np.array([[0.0, -2, 0, 5], [2, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1]])


def test_starts_are_rotations():
    for rotations, count in ((near_rotations(), 27), (all_rotations(), 192)):
        assert len(rotations) == count
        assert all(np.isclose(np.linalg.det(one), 1) and np.allclose(one @ one.T, np.eye(3)) for one in rotations)


def test_the_centroid_of_a_voxel_is_its_centre():
    data = np.zeros((4, 5, 6), np.float32)
    data[1, 2, 3] = 7
    assert centroid(Image(data, Grid(data.shape, TILT))) == pytest.approx(TILT[:3] @ [1, 2, 3, 1])


@pytest.mark.parametrize("margin", [0.0, 10.0])
def test_an_aligned_grid_covers_the_field_of_view_and_its_margin(margin):
    grid = Grid((4, 5, 6), TILT)
    aligned = aligned_grid(grid, 1.5, margin)
    assert np.allclose(aligned.affine[:3, :3], np.diag([1.5] * 3))
    inner, outer = grid.corners(), aligned.corners()
    assert (outer.min(0) <= inner.min(0) - margin + 1e-6).all()
    assert (outer.max(0) >= inner.max(0) + margin - 1e-6).all()
