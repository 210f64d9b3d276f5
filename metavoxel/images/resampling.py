"""Resampling of images: cubic convolution, with a low-pass filter for coarser grids.

New voxel ``j`` lies at the old index ``u = M j + t`` (:meth:`metavoxel.images.grid.Grid.indices_in`). Along an axis
with ratio ``r`` (old voxels per new one) its intensity is

    y_j = sum_i k((i - u_j) / s) x_i / sum_i k((i - u_j) / s),      s = max(r, 1),                               (1)

with Keys' kernel ``k`` (a = -1/2; Keys 1981, eq. 15). For ``s > 1`` the stretched kernel is also the low-pass filter,
so that detail finer than the new grid is averaged instead of aliased. Weights of voxels beyond an edge go to the voxel
at that edge. Between grids with parallel axes, (1) is applied along each axis. Otherwise images are filtered by (1) on
their identity grid and then interpolated once at ``u`` by cubic splines.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from scipy.ndimage import affine_transform

from metavoxel.images.grid import SPARE_VOXELS, Grid, Sampling

_IGNORED_SHIFT = 0.05
"""Displacement in voxels below which rotations, scalings and fractional offsets are ignored."""


def along_axes(data: Float32[np.ndarray, "*s"], samplings: Sequence[Sampling]) -> Float32[np.ndarray, "*t"]:
    """Apply equation (1) along each axis; axes of ratio 1 and an integer offset are cropped, not interpolated.

    Samplings of the latter lie within the data. Intensities stay within the range of the data.
    """
    low, high = data.min(), data.max()
    blurred = False
    for axis, sampling in enumerate(samplings):
        shift = round(sampling.start)
        if sampling.ratio == 1 and sampling.start == shift:
            cut: list[slice] = [slice(None)] * data.ndim
            cut[axis] = slice(shift, shift + sampling.size)
            data = data[tuple(cut)]
        else:
            weights = _cubic_weights(data.shape[axis], sampling)
            data = np.moveaxis(np.tensordot(weights, data, axes=(1, axis)), 0, axis)
            blurred = True
    return np.clip(data, low, high) if blurred else data


def onto(
    data: Float32[np.ndarray, "*s"], source: Grid, target: Grid, fill: float
) -> tuple[Float32[np.ndarray, "*t"], Bool[np.ndarray, "*t"]]:
    """Resample onto another grid in mm, with ``fill`` outside the source's field of view; also return its mask."""
    matrix, offset = target.indices_in(source)
    along = _axis_samplings(matrix, offset, source, target)
    result = np.full(target.shape, fill, np.float32)
    covered = np.zeros(target.shape, dtype=bool)
    if along is not None:
        box, samplings = along
        if all(sampling.size > 0 for sampling in samplings):
            result[box] = along_axes(data, samplings)
            covered[box] = True
        return result, covered
    covered = _inside(matrix, offset, source.shape, target.shape)
    ratios = np.linalg.norm(matrix, axis=1)
    identity = [Sampling(size, 0.0, 1.0) for size in source.shape]
    smooth = data
    for axis, (sampling, ratio) in enumerate(zip(identity, ratios, strict=True)):
        if ratio > 1:
            weights = _cubic_weights(sampling.size, sampling, stretch=float(ratio))
            smooth = np.moveaxis(np.tensordot(weights, smooth, axes=(1, axis)), 0, axis)
    rotated = affine_transform(smooth, matrix, offset, target.shape, order=3, mode="nearest", output=np.float32)
    return np.where(covered, np.clip(rotated, data.min(), data.max()), np.float32(fill)), covered


def nearest(
    data: Float32[np.ndarray, "*s"], source: Grid, target: Grid, fill: float
) -> tuple[Float32[np.ndarray, "*t"], Bool[np.ndarray, "*t"]]:
    """Resample as :func:`onto`, but by nearest-neighbour interpolation: for labels."""
    matrix, offset = target.indices_in(source)
    covered = _inside(matrix, offset, source.shape, target.shape)
    values = affine_transform(data, matrix, offset, target.shape, order=0, mode="nearest", output=np.float32)
    return np.where(covered, values, np.float32(fill)), covered


def covered(source: Grid, target: Grid) -> Bool[np.ndarray, "*t"]:
    """Compute the mask of target voxels within the source's field of view."""
    matrix, offset = target.indices_in(source)
    along = _axis_samplings(matrix, offset, source, target)
    if along is None:
        return _inside(matrix, offset, source.shape, target.shape)
    mask = np.zeros(target.shape, dtype=bool)
    mask[along[0]] = True
    return mask


def _axis_samplings(
    matrix: Float64[np.ndarray, "n n"], offset: Float64[np.ndarray, " n"], source: Grid, target: Grid
) -> tuple[tuple[slice, ...], list[Sampling]] | None:
    """Compute the part of the target that the source covers, and its samplings; None if axes are rotated."""
    ends = np.array(target.shape) - 1
    off_diagonal = matrix - np.diag(np.diag(matrix))
    if (np.abs(off_diagonal) @ ends).max() > _IGNORED_SHIFT:
        return None
    starts = offset + off_diagonal @ (ends / 2)
    box, samplings = [], []
    for start, ratio, size, length in zip(starts, np.diag(matrix), source.shape, target.shape, strict=True):
        if abs(ratio - 1) * length < _IGNORED_SHIFT and abs(start - round(start)) < _IGNORED_SHIFT:
            start, ratio = float(round(start)), 1.0
        first = max(0, int(np.ceil((-0.5 - SPARE_VOXELS - start) / ratio)))
        last = min(length - 1, int(np.floor((size - 0.5 + SPARE_VOXELS - start) / ratio)))
        box.append(slice(first, max(first, last + 1)))
        samplings.append(Sampling(max(0, last + 1 - first), float(start + ratio * first), float(ratio)))
    return tuple(box), samplings


def _inside(
    matrix: Float64[np.ndarray, "n n"], offset: Float64[np.ndarray, " n"], source: Sequence[int], target: Sequence[int]
) -> Bool[np.ndarray, "*t"]:
    """Compute the mask of target voxels whose centres lie in the source's field of view."""
    inside = np.ones(tuple(target), dtype=bool)
    for row, shift, size in zip(matrix, offset, source, strict=True):
        positions = np.full((1,) * len(target), shift)
        for axis, (step, length) in enumerate(zip(row, target, strict=True)):
            positions = positions + step * np.arange(length).reshape(
                [-1 if other == axis else 1 for other in range(len(target))]
            )
        inside &= (positions > -0.5 - SPARE_VOXELS) & (positions < size - 0.5 + SPARE_VOXELS)
    return inside


def _cubic_weights(size: int, sampling: Sampling, stretch: float | None = None) -> Float32[np.ndarray, "new old"]:
    """Compute the weights of equation (1), one row per new voxel; rows sum to 1."""
    stretch = max(sampling.ratio, 1.0) if stretch is None else stretch
    centres = sampling.start + sampling.ratio * np.arange(sampling.size)
    reach = int(np.ceil(2 * stretch)) + 1
    taps = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)
    weights = _keys(np.abs(taps - centres[:, None]) / stretch)
    matrix = np.zeros((sampling.size, size))
    np.add.at(matrix, (np.arange(sampling.size)[:, None], np.clip(taps, 0, size - 1)), weights)
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


def _keys(x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Evaluate Keys' kernel with a = -1/2, exact for quadratics."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
