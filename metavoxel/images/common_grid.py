"""Common grid in mm for the images of a cohort.

The field of view of a grid with ``n`` voxels along an axis spans the indices -1/2 to n - 1/2, mapped to mm by its
affine. The common grid is the smallest one, along common axes, whose field of view contains those of all grids. If all
axes are parallel it keeps them, and at the most frequent grid's spacing also its voxels, so that nothing is
interpolated. Otherwise its axes are those of the world (right, anterior, superior).
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from metavoxel.images.grid import SAME_SPACING, SPARE_VOXELS, Grid

_SAME_DIRECTION = 1e-3
"""Difference of unit vectors below which axes are parallel: about .06 degrees, half a voxel over 900."""


class Spread(NamedTuple):
    """Largest distance of centres from their mean (mm), and largest angle of axes to the reference's (degrees)."""

    centres: float
    angle: float


def common_grid(grids: Sequence[Grid], spacing: float | None = None) -> Grid:
    """Compute the smallest grid that covers all fields of view.

    Args:
        grids: canonical, with equal numbers of axes.
        spacing: isotropic, in mm; by default that of the most frequent grid.
    """
    reference = commonest(grids)
    axes = len(reference.shape)
    parallel = all(np.abs(grid.directions() - reference.directions()).max() < _SAME_DIRECTION for grid in grids)
    basis = reference.directions() if parallel or axes == 2 else np.eye(3)
    steps = np.array(reference.spacing if spacing is None else [spacing] * axes)
    to_basis = np.linalg.inv(basis)
    corners = np.concatenate([grid.corners() for grid in distinct(grids)]) @ to_basis.T
    low, high = corners[:, :axes].min(0), corners[:, :axes].max(0)
    origin = to_basis @ reference.affine[:3, 3]
    if parallel and np.allclose(steps, reference.spacing, rtol=SAME_SPACING, atol=0):
        steps = np.array(reference.spacing)
        before = np.floor((low - origin[:axes]) / steps + 0.5 + SPARE_VOXELS)
        sizes = np.ceil((high - origin[:axes]) / steps + 0.5 - SPARE_VOXELS) - before
        first = origin[:axes] + before * steps
    else:
        sizes = np.maximum(1, np.ceil((high - low) / steps - SPARE_VOXELS))
        first = (low + high) / 2 - (sizes - 1) / 2 * steps
    affine = np.eye(4)
    affine[:3, :3] = basis
    affine[:3, :axes] *= steps
    affine[:3, axes:3] = reference.affine[:3, axes:3]
    affine[:3, 3] = basis @ [*first, *origin[axes:]]
    return Grid(tuple(int(size) for size in sizes), affine)


def commonest(grids: Sequence[Grid]) -> Grid:
    """Return the most frequent grid, the first one on a tie."""
    counts = Counter(map(_key, grids))
    most = max(counts.values())
    return next(grid for grid in grids if counts[_key(grid)] == most)


def distinct(grids: Sequence[Grid]) -> list[Grid]:
    """Return one grid of each shape and position."""
    return list({_key(grid): grid for grid in grids}.values())


def spread(grids: Sequence[Grid]) -> Spread:
    """Measure the spread of image centres and axes; the reference is the most frequent grid."""
    unique = distinct(grids)
    centres: Float64[np.ndarray, "k 3"] = np.array([grid.corners().mean(0) for grid in unique])
    reference = commonest(grids).directions()
    cosines = [float(np.clip((grid.directions() * reference).sum(0), -1, 1).min()) for grid in unique]
    distances = np.linalg.norm(centres - centres.mean(0), axis=1)
    return Spread(float(distances.max()), float(np.rad2deg(np.arccos(min(cosines)))))


def _key(grid: Grid) -> tuple[tuple[int, ...], bytes]:
    """Build a key that is equal for grids with the same voxel positions, up to the rounding of headers."""
    return grid.shape, (np.round(grid.affine, 3) + 0.0).tobytes()
