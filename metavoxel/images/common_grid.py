"""One grid in mm for the images of a cohort.

A grid of ``n`` voxels along an axis has as its field of view the indices from -1/2 to n - 1/2, which its affine takes
to mm. The common grid is the smallest one, along common axes, whose field of view contains those of all grids. Where
all axes run alike it keeps them, and at the commonest grid's spacing also its voxels, so that nothing is interpolated;
otherwise its axes are those of the world (right, anterior, superior).
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from metavoxel.images.grid import SAME_SPACING, SPARE_VOXELS, Grid

_SAME_DIRECTION = 1e-3
"""Difference of unit vectors below which two axes are one: about .06 degrees, half a voxel over 900."""


class Spread(NamedTuple):
    """How far images lie apart: centres from their mean (largest, in mm), axes from the reference's (in degrees)."""

    centres: float
    angle: float


def common_grid(grids: Sequence[Grid], spacing: float | None = None) -> Grid:
    """The smallest grid that covers the fields of view of all.

    Args:
        grids: canonical ones, of as many axes each.
        spacing: isotropic, in mm; by default that of the commonest grid.
    """
    usual = commonest(grids)
    axes = len(usual.shape)
    alike = all(np.abs(grid.directions() - usual.directions()).max() < _SAME_DIRECTION for grid in grids)
    basis = usual.directions() if alike or axes == 2 else np.eye(3)
    steps = np.array(usual.spacing if spacing is None else [spacing] * axes)
    to_basis = np.linalg.inv(basis)
    corners = np.concatenate([grid.corners() for grid in distinct(grids)]) @ to_basis.T
    low, high = corners[:, :axes].min(0), corners[:, :axes].max(0)
    origin = to_basis @ usual.affine[:3, 3]
    if alike and np.allclose(steps, usual.spacing, rtol=SAME_SPACING, atol=0):
        steps = np.array(usual.spacing)
        before = np.floor((low - origin[:axes]) / steps + 0.5 + SPARE_VOXELS)
        sizes = np.ceil((high - origin[:axes]) / steps + 0.5 - SPARE_VOXELS) - before
        first = origin[:axes] + before * steps
    else:
        sizes = np.maximum(1, np.ceil((high - low) / steps - SPARE_VOXELS))
        first = (low + high) / 2 - (sizes - 1) / 2 * steps
    affine = np.eye(4)
    affine[:3, :3] = basis
    affine[:3, :axes] *= steps
    affine[:3, axes:3] = usual.affine[:3, axes:3]
    affine[:3, 3] = basis @ [*first, *origin[axes:]]
    return Grid(tuple(int(size) for size in sizes), affine)


def commonest(grids: Sequence[Grid]) -> Grid:
    """The first of those that most images lie on."""
    counts = Counter(map(_key, grids))
    most = max(counts.values())
    return next(grid for grid in grids if counts[_key(grid)] == most)


def distinct(grids: Sequence[Grid]) -> list[Grid]:
    """One of each shape and place."""
    return list({_key(grid): grid for grid in grids}.values())


def spread(grids: Sequence[Grid]) -> Spread:
    """How far the images lie apart."""
    kinds = distinct(grids)
    centres: Float64[np.ndarray, "k 3"] = np.array([grid.corners().mean(0) for grid in kinds])
    usual = commonest(grids).directions()
    cosines = [float(np.clip((grid.directions() * usual).sum(0), -1, 1).min()) for grid in kinds]
    distances = np.linalg.norm(centres - centres.mean(0), axis=1)
    return Spread(float(distances.max()), float(np.rad2deg(np.arccos(min(cosines)))))


def _key(grid: Grid) -> tuple[tuple[int, ...], bytes]:
    """Equal for grids whose voxels lie at the same places, but for the rounding of headers."""
    return grid.shape, (np.round(grid.affine, 3) + 0.0).tobytes()
