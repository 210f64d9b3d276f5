"""Where the voxels of an image lie in space."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float64
from nibabel.orientations import io_orientation

SAME_SPACING = 1e-3
"""Relative difference below which two spacings are one: headers hold them in single precision."""
SPARE_VOXELS = 1e-2
"""A field of view that exceeds whole voxels by less than this is rounding, not image."""


class Sampling(NamedTuple):
    """New voxel ``j`` of an axis lies at old voxel ``start + j * ratio``."""

    size: int
    start: float
    ratio: float


@final
@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels: of an image of two axes (x, y) or three (x, y, z).

    ``affine`` takes a voxel's indices to its place in mm; an image of two axes lies at index 0 of a third. Grids of
    PNG and JPEG files have no mm: a pixel counts as 1.
    """

    shape: tuple[int, ...]
    affine: Float64[np.ndarray, "4 4"]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring voxels along each axis of the image, in mm."""
        return tuple(float(step) for step in np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0))

    def orientation(self) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        """Which axis to take for each canonical axis, and whether it then runs backwards.

        Canonical (RAS+) axes run most nearly to the right, anterior and superior, in this order.
        """
        nearest = io_orientation(self.affine)[: len(self.shape)]
        order = tuple(int(axis) for axis in np.argsort(nearest[:, 0]))
        return order, tuple(bool(nearest[axis, 1] < 0) for axis in order)

    def canonical(self) -> "Grid":
        """The same voxels, indexed along canonical axes."""
        order, backwards = self.orientation()
        to_old = np.eye(4)
        to_old[: len(order), : len(order)] = 0
        for new, (old, flip) in enumerate(zip(order, backwards, strict=True)):
            to_old[old, new] = -1 if flip else 1
            to_old[old, 3] = self.shape[old] - 1 if flip else 0
        return Grid(tuple(self.shape[axis] for axis in order), self.affine @ to_old)

    def corners(self) -> Float64[np.ndarray, "corners 3"]:
        """Outer corners of the field of view, half a voxel beyond the outermost centres, in mm."""
        ends = [(-0.5, size - 0.5) for size in self.shape] + [(0.0,)] * (3 - len(self.shape))
        indices = np.array(list(itertools.product(*ends)))
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def directions(self) -> Float64[np.ndarray, "3 3"]:
        """Columns of unit length along the image's axes in mm; the last of two axes' is their normal's."""
        columns = self.affine[:3, :3].copy()
        if len(self.shape) == 2:
            columns[:, 2] = np.cross(columns[:, 0], columns[:, 1])
        return columns / np.linalg.norm(columns, axis=0)

    def indices_in(self, other: "Grid") -> tuple[Float64[np.ndarray, "n n"], Float64[np.ndarray, " n"]]:
        """Matrix and offset that take this grid's voxel indices to the other's, along the axes of the image.

        Of images of two axes, what lies across their plane is left out.
        """
        axes = len(self.shape)
        frame = np.eye(4)
        frame[:3, :3] = other.directions() * [*other.spacing, *[1.0] * (3 - axes)]
        frame[:3, 3] = other.affine[:3, 3]
        matrix = np.linalg.inv(frame) @ self.affine
        return matrix[:axes, :axes], matrix[:axes, 3]

    def samplings(self, spacing: float) -> tuple[Sampling, ...]:
        """Where each axis is sampled at ``spacing`` mm: the field of view keeps its centre, and none of it is lost.

        An axis that already has this spacing is left alone.
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
        """A grid of isotropic ``spacing`` mm over the same field of view."""
        axes = self.samplings(spacing)
        to_old = np.eye(4)
        for axis, sampling in enumerate(axes):
            to_old[axis, axis] = sampling.ratio
            to_old[axis, 3] = sampling.start
        return Grid(tuple(sampling.size for sampling in axes), self.affine @ to_old)

    def margins(self, shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Voxels to add before and after each axis to reach ``shape``, the same on both sides or one more after.

        Raises:
            ValueError: ``shape`` has other axes, or is smaller somewhere: nothing is ever cropped.
        """
        if len(shape) != len(self.shape) or any(new < old for new, old in zip(shape, self.shape, strict=True)):
            raise ValueError(f"a grid of {_by(self.shape)} voxels does not fit into {_by(shape)}")
        missing = [new - old for new, old in zip(shape, self.shape, strict=True)]
        return tuple((extra // 2, extra - extra // 2) for extra in missing)

    def padded(self, shape: Sequence[int]) -> "Grid":
        """The grid with margins around it, each old voxel where it was."""
        to_old = np.eye(4)
        for axis, (before, _) in enumerate(self.margins(shape)):
            to_old[axis, 3] = -before
        return Grid(tuple(shape), self.affine @ to_old)

    def spaced_as(self, other: "Grid") -> bool:
        """Whether the spacing along each axis is the same."""
        return bool(np.allclose(self.spacing, other.spacing, rtol=SAME_SPACING, atol=0))

    def agrees(self, other: "Grid") -> bool:
        """Whether shape and spacing are the same; the place may differ, as it does between heads in a scanner."""
        return self.shape == other.shape and self.spaced_as(other)

    def __str__(self) -> str:
        steps = [f"{step:.4g}" for step in self.spacing]
        return f"{_by(self.shape)} at {steps[0] if len(set(steps)) == 1 else ' x '.join(steps)}"


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
