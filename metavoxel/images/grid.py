"""Positions of the voxels of an image in space."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float64
from nibabel.orientations import io_orientation

SAME_SPACING = 1e-3
"""Relative difference below which spacings are equal, since headers store them in single precision."""
SPARE_VOXELS = 1e-2
"""Fraction of a voxel by which fields of view may differ through rounding."""


class Sampling(NamedTuple):
    """Sampling of one axis: new voxel ``j`` lies at old voxel ``start + j * ratio``."""

    size: int
    start: float
    ratio: float


@final
@dataclass(frozen=True, eq=False)
class Grid:
    """A regular voxel grid of a 2-D image (x, y) or a 3-D image (x, y, z).

    ``affine`` maps voxel indices to mm; a 2-D image lies at index 0 of a third axis. In grids of PNG and JPEG files a
    pixel counts as 1 mm.
    """

    shape: tuple[int, ...]
    affine: Float64[np.ndarray, "4 4"]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring voxels along each axis of the image, in mm."""
        return tuple(float(step) for step in np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0))

    def orientation(self) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        """Return the image axis closest to each canonical axis, and whether it is reversed.

        Canonical (RAS+) axes point to the right, anterior and superior, in this order.
        """
        axes_and_signs = io_orientation(self.affine)[: len(self.shape)]
        order = tuple(int(axis) for axis in np.argsort(axes_and_signs[:, 0]))
        return order, tuple(bool(axes_and_signs[axis, 1] < 0) for axis in order)

    def canonical(self) -> "Grid":
        """Index the same voxels along canonical axes."""
        order, backwards = self.orientation()
        to_old = np.eye(4)
        to_old[: len(order), : len(order)] = 0
        for new, (old, flip) in enumerate(zip(order, backwards, strict=True)):
            to_old[old, new] = -1 if flip else 1
            to_old[old, 3] = self.shape[old] - 1 if flip else 0
        return Grid(tuple(self.shape[axis] for axis in order), self.affine @ to_old)

    def corners(self) -> Float64[np.ndarray, "corners 3"]:
        """Compute the corners of the field of view, half a voxel beyond the outermost centres, in mm."""
        ends = [(-0.5, size - 0.5) for size in self.shape] + [(0.0,)] * (3 - len(self.shape))
        indices = np.array(list(itertools.product(*ends)))
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def directions(self) -> Float64[np.ndarray, "3 3"]:
        """Compute unit vectors along the image's axes, as columns; the third one of a 2-D image is its normal."""
        columns = self.affine[:3, :3].copy()
        if len(self.shape) == 2:
            columns[:, 2] = np.cross(columns[:, 0], columns[:, 1])
        return columns / np.linalg.norm(columns, axis=0)

    def indices_in(self, other: "Grid") -> tuple[Float64[np.ndarray, "n n"], Float64[np.ndarray, " n"]]:
        """Compute the matrix and offset that map this grid's voxel indices to the other's.

        For 2-D images, distances along the normal are ignored.
        """
        axes = len(self.shape)
        frame = np.eye(4)
        frame[:3, :3] = other.directions() * [*other.spacing, *[1.0] * (3 - axes)]
        frame[:3, 3] = other.affine[:3, 3]
        matrix = np.linalg.inv(frame) @ self.affine
        return matrix[:axes, :axes], matrix[:axes, 3]

    def samplings(self, spacing: float) -> tuple[Sampling, ...]:
        """Compute the sampling of each axis at ``spacing`` mm. The field of view keeps its centre and never shrinks.

        An axis that already has this spacing is unchanged.
        """
        axes = []
        for size, step in zip(self.shape, self.spacing, strict=True):
            ratio = spacing / step
            if abs(ratio - 1) < SAME_SPACING:
                axes.append(Sampling(size, 0.0, 1.0))
                continue
            new_size = max(1, math.ceil(size / ratio - SPARE_VOXELS))
            axes.append(Sampling(new_size, (size - 1) / 2 - (new_size - 1) / 2 * ratio, ratio))
        return tuple(axes)

    def resampled(self, spacing: float) -> "Grid":
        """Return a grid of isotropic ``spacing`` mm over the same field of view."""
        axes = self.samplings(spacing)
        to_old = np.eye(4)
        for axis, sampling in enumerate(axes):
            to_old[axis, axis] = sampling.ratio
            to_old[axis, 3] = sampling.start
        return Grid(tuple(sampling.size for sampling in axes), self.affine @ to_old)

    def margins(self, shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Count the voxels to add before and after each axis to reach ``shape``, equally or with one more after.

        Raises:
            ValueError: ``shape`` has other axes, or is smaller along one: grids are never cropped.
        """
        if len(shape) != len(self.shape) or any(new < old for new, old in zip(shape, self.shape, strict=True)):
            raise ValueError(f"a grid of {_by(self.shape)} voxels does not fit into {_by(shape)}")
        missing = [new - old for new, old in zip(shape, self.shape, strict=True)]
        return tuple((extra // 2, extra - extra // 2) for extra in missing)

    def padded(self, shape: Sequence[int]) -> "Grid":
        """Add margins up to ``shape``; voxels keep their positions in mm."""
        to_old = np.eye(4)
        for axis, (before, _) in enumerate(self.margins(shape)):
            to_old[axis, 3] = -before
        return Grid(tuple(shape), self.affine @ to_old)

    def spaced_as(self, other: "Grid") -> bool:
        """Whether the spacing along each axis is equal."""
        return bool(np.allclose(self.spacing, other.spacing, rtol=SAME_SPACING, atol=0))

    def agrees(self, other: "Grid") -> bool:
        """Whether shape and spacing are equal; positions may differ, as between subjects in a scanner."""
        return self.shape == other.shape and self.spaced_as(other)

    def __str__(self) -> str:
        steps = [f"{step:.4g}" for step in self.spacing]
        return f"{_by(self.shape)} at {steps[0] if len(set(steps)) == 1 else ' x '.join(steps)}"


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
