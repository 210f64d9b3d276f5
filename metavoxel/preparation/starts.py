"""Starts of a registration: rotations, the centre of a head, and the grid on which it is compared."""

import itertools

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image

STEP = 40.0
"""Angle between neighbouring starts along each axis, degrees."""


def near_rotations() -> list[Float64[np.ndarray, "3 3"]]:
    """List 27 rotations: -40, 0 and 40 degrees about each axis."""
    turns = itertools.product((0.0, -STEP, STEP), repeat=3)
    return [Rotation.from_euler("xyz", turn, degrees=True).as_matrix() for turn in turns]


def all_rotations() -> list[Float64[np.ndarray, "3 3"]]:
    """List 192 rotations that cover all orientations: those of the cube, each turned by up to 35 degrees."""
    cube = Rotation.create_group("O").as_matrix()
    turned = [
        Rotation.from_euler("xyz", turn, degrees=True).as_matrix() for turn in itertools.product((0, 35), repeat=3)
    ]
    return [first @ second for first in cube for second in turned]


def centroid(image: Image) -> Float64[np.ndarray, "3"]:
    """Compute the intensity-weighted centre in mm."""
    weights = np.clip(image.data, 0, None).astype(np.float64)
    index = [
        float((weights.sum(tuple(other for other in range(3) if other != axis)) * np.arange(size)).sum())
        for axis, size in enumerate(weights.shape)
    ]
    return image.grid.affine[:3, :3] @ (np.array(index) / weights.sum()) + image.grid.affine[:3, 3]


def aligned_grid(grid: Grid, spacing: float, margin: float = 0.0) -> Grid:
    """Return a grid of ``spacing`` mm along the axes of space, over a grid's field of view and a margin in mm."""
    corners = grid.corners()
    low, high = corners.min(0) - margin, corners.max(0) + margin
    shape = np.maximum(np.ceil((high - low) / spacing - 1e-6), 1).astype(int)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (low + high) / 2 - spacing * (shape - 1) / 2
    return Grid(tuple(int(size) for size in shape), affine)
