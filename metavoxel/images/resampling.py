"""Resampling of images: cubic convolution, with a low-pass filter where they get coarser.

New voxel ``j`` lies at the old index ``u = M j + t`` (:meth:`metavoxel.images.grid.Grid.indices_in`). Along an axis
with ratio ``r`` (old voxels a new one) its intensity is

    y_j = sum_i k((i - u_j) / s) x_i / sum_i k((i - u_j) / s),      s = max(r, 1),                               (1)

with Keys' kernel ``k`` (a = -1/2; Keys 1981, eq. 15): for ``s > 1`` the stretched kernel is the low-pass filter too, so
that detail finer than the new grid is averaged away instead of being aliased. Voxels beyond an end lend their weight to
the last one. Grids whose axes run alike need (1) along each axis alone. Others are filtered by (1) on their own voxels
and then interpolated once at ``u`` by cubic splines.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from scipy.ndimage import affine_transform

from metavoxel.images.grid import SPARE_VOXELS, Grid, Sampling

_STRAIGHT = 0.05
"""Voxels by which a turn of axes may move a corner before it counts."""


def along_axes(data: Float32[np.ndarray, "*s"], samplings: Sequence[Sampling]) -> Float32[np.ndarray, "*t"]:
    """Equation (1) along each axis; axes of ratio 1 and an offset of whole voxels are cut out, not interpolated.

    Samplings of the latter lie within the data. Intensities stay within those of the data.
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
    """Intensities on another grid in mm, ``fill`` where the source's field of view ends, and which voxels it covers."""
    matrix, offset = target.indices_in(source)
    straight = _straightened(matrix, offset, source, target)
    result = np.full(target.shape, fill, np.float32)
    covered = np.zeros(target.shape, dtype=bool)
    if straight is not None:
        box, samplings = straight
        if all(sampling.size > 0 for sampling in samplings):
            result[box] = along_axes(data, samplings)
            covered[box] = True
        return result, covered
    covered = _inside(matrix, offset, source.shape, target.shape)
    ratios = np.linalg.norm(matrix, axis=1)
    own = [Sampling(size, 0.0, 1.0) for size in source.shape]
    smooth = data
    for axis, (sampling, ratio) in enumerate(zip(own, ratios, strict=True)):
        if ratio > 1:
            weights = _cubic_weights(sampling.size, sampling, stretch=float(ratio))
            smooth = np.moveaxis(np.tensordot(weights, smooth, axes=(1, axis)), 0, axis)
    turned = affine_transform(smooth, matrix, offset, target.shape, order=3, mode="nearest", output=np.float32)
    return np.where(covered, np.clip(turned, data.min(), data.max()), np.float32(fill)), covered


def nearest(
    data: Float32[np.ndarray, "*s"], source: Grid, target: Grid, fill: float
) -> tuple[Float32[np.ndarray, "*t"], Bool[np.ndarray, "*t"]]:
    """As :func:`onto`, but each new voxel takes the value of the nearest old one: for labels."""
    matrix, offset = target.indices_in(source)
    covered = _inside(matrix, offset, source.shape, target.shape)
    taken = affine_transform(data, matrix, offset, target.shape, order=0, mode="nearest", output=np.float32)
    return np.where(covered, taken, np.float32(fill)), covered


def covered(source: Grid, target: Grid) -> Bool[np.ndarray, "*t"]:
    """Which voxels of the target the source's field of view covers."""
    matrix, offset = target.indices_in(source)
    straight = _straightened(matrix, offset, source, target)
    if straight is None:
        return _inside(matrix, offset, source.shape, target.shape)
    mask = np.zeros(target.shape, dtype=bool)
    mask[straight[0]] = True
    return mask


def _straightened(
    matrix: Float64[np.ndarray, "n n"], offset: Float64[np.ndarray, " n"], source: Grid, target: Grid
) -> tuple[tuple[slice, ...], list[Sampling]] | None:
    """The part of the target that the source covers, and where its axes are sampled; None where axes are turned."""
    ends = np.array(target.shape) - 1
    turn = matrix - np.diag(np.diag(matrix))
    if (np.abs(turn) @ ends).max() > _STRAIGHT:
        return None
    starts = offset + turn @ (ends / 2)
    box, samplings = [], []
    for start, ratio, size, length in zip(starts, np.diag(matrix), source.shape, target.shape, strict=True):
        if abs(ratio - 1) * length < _STRAIGHT and abs(start - round(start)) < _STRAIGHT:
            start, ratio = float(round(start)), 1.0
        first = max(0, int(np.ceil((-0.5 - SPARE_VOXELS - start) / ratio)))
        last = min(length - 1, int(np.floor((size - 0.5 + SPARE_VOXELS - start) / ratio)))
        box.append(slice(first, max(first, last + 1)))
        samplings.append(Sampling(max(0, last + 1 - first), float(start + ratio * first), float(ratio)))
    return tuple(box), samplings


def _inside(
    matrix: Float64[np.ndarray, "n n"], offset: Float64[np.ndarray, " n"], source: Sequence[int], target: Sequence[int]
) -> Bool[np.ndarray, "*t"]:
    """Target voxels whose centres lie in the source's field of view."""
    inside = np.ones(tuple(target), dtype=bool)
    for row, shift, size in zip(matrix, offset, source, strict=True):
        place = np.full((1,) * len(target), shift)
        for axis, (step, length) in enumerate(zip(row, target, strict=True)):
            place = place + step * np.arange(length).reshape(
                [-1 if other == axis else 1 for other in range(len(target))]
            )
        inside &= (place > -0.5 - SPARE_VOXELS) & (place < size - 0.5 + SPARE_VOXELS)
    return inside


def _cubic_weights(size: int, sampling: Sampling, stretch: float | None = None) -> Float32[np.ndarray, "new old"]:
    """Rows of equation (1), which sum to 1."""
    stretch = max(sampling.ratio, 1.0) if stretch is None else stretch
    centres = sampling.start + sampling.ratio * np.arange(sampling.size)
    reach = int(np.ceil(2 * stretch)) + 1
    taps = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)
    weights = _keys(np.abs(taps - centres[:, None]) / stretch)
    matrix = np.zeros((sampling.size, size))
    np.add.at(matrix, (np.arange(sampling.size)[:, None], np.clip(taps, 0, size - 1)), weights)
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


def _keys(x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Keys' kernel with a = -1/2, exact for quadratics."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
