"""Rigid registration of a brain by correlation.

The map T from the fixed to the moving image maximises the correlation of F(x) and M(T x) over the fixed brain,
dilated. For a > 0 this is the minimum over a and b of

    sum_x (F(x) - a M(T x) - b)^2,                                                                          (1)

a nonlinear least-squares problem, solved by Levenberg-Marquardt steps in a rotation vector and a translation (analytic
derivatives, from the gradient of M). Points outside the moving field of view are left out, so that a cut head aligns.
Starts align the centroids, under rotations of a lattice; each is refined at 8 mm, the best few at 4 mm.

For another contrast, F is replaced by the mean of M over the points of each class of F's intensities, at every pose.
The correlation is then the root of the correlation ratio (Roche et al. 1998), which assumes no order of intensities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.rigid import Rigid
from metavoxel.preparation.starts import aligned_grid, centroid, near_rotations

COARSE, FINE = 8.0, 4.0
"""Distance of the compared points at the first and the last level, mm."""

_MARGIN = 10.0
"""Margin around the fixed brain within which images are compared, mm."""
_SMALL = 15.0
"""Largest rotation of a start between two contrasts of a visit, degrees."""
_CLASSES = 32
_KEPT = 3
_LARGEST = np.deg2rad(20)
"""Largest rotation of one step."""
_TOLERANCE = 5e-3
"""Largest step in mm at which the search ends."""
_RADIUS = 80.0
"""Distance from the centre of a head at which a rotation is converted to mm."""


class Registration(NamedTuple):
    """A rigid map from fixed to moving mm, and the correlation of both images under it."""

    rigid: Rigid
    correlation: float


class _Points(NamedTuple):
    """Points of the fixed image at one level, and its intensities or, for another contrast, their classes."""

    positions: Float64[np.ndarray, "n 3"]
    values: Float32[np.ndarray, "n"]
    classes: Int64[np.ndarray, "n"] | None = None


class _Moving(NamedTuple):
    """The moving image at one level: intensities and their gradient, and the mask of the field of view."""

    maps: Float32[Tensor, "4 x y z"]
    inside: Bool[np.ndarray, "x y z"]
    to_index: Float64[np.ndarray, "4 4"]


class _Pose(NamedTuple):
    rotation: Float64[np.ndarray, "3 3"]
    centre: Float64[np.ndarray, "3"]
    """Moving position of the fixed centroid, mm."""


@final
@dataclass(frozen=True, eq=False)
class Fixed:
    """An image to register to: the template, the registered baseline of a subject, or its T1w for other contrasts.

    Built by :func:`fixed_brain` and :func:`fixed_head`.
    """

    centroid: Float64[np.ndarray, "3"]
    levels: tuple[_Points, ...]
    spacings: tuple[float, ...]


def fixed_brain(image: Image, mask: Bool[np.ndarray, "x y z"], spacings: Sequence[float] = (COARSE, FINE)) -> Fixed:
    """Prepare a brain for registration to it, at the levels ``spacings`` in mm, coarse to fine."""
    brain = Image(np.where(mask, image.data, 0).astype(np.float32), image.grid)
    return Fixed(centroid(brain), tuple(_levels(brain, mask, spacings)), tuple(spacings))


def fixed_head(image: Image, mask: Bool[np.ndarray, "x y z"], spacings: Sequence[float] = (COARSE, FINE)) -> Fixed:
    """Prepare a head, skull included, for registration of other contrasts to it, compared in and around its brain."""
    brain = Image(np.where(mask, image.data, 0).astype(np.float32), image.grid)
    levels = [points._replace(classes=intensity_classes(points.values)) for points in _levels(image, mask, spacings)]
    return Fixed(centroid(brain), tuple(levels), tuple(spacings))


def intensity_classes(values: Float32[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Divide intensities at their quantiles into up to 32 classes; equal ones are in one class."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _CLASSES + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _levels(image: Image, mask: Bool[np.ndarray, "x y z"], spacings: Sequence[float]) -> Iterator[_Points]:
    """Yield the points in and around a mask at each level."""
    grown = binary_dilation(mask, iterations=max(1, round(_MARGIN / min(image.grid.spacing))))
    for spacing in spacings:
        grid = aligned_grid(image.grid, spacing)
        values = _smoothed(image, spacing / 2).onto(grid)[0].data
        compared = Image(grown.astype(np.float32), image.grid).onto(grid, labels=True)[0].data > 0.5
        positions = np.argwhere(compared) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        yield _Points(positions, values[compared])


def register(
    moving: Image,
    mask: Bool[np.ndarray, "x y z"],
    fixed: Fixed,
    *,
    rotations: Sequence[Float64[np.ndarray, "3 3"]] | None = None,
) -> Registration:
    """Register the brain of an image to a fixed brain.

    Args:
        moving: native image.
        mask: its brain.
        fixed: the brain to register to.
        rotations: rotations of the starts; by default 27, up to 40 degrees about each axis.
    """
    brain = Image(np.where(mask, moving.data, 0).astype(np.float32), moving.grid)
    starts = near_rotations() if rotations is None else rotations
    middle = centroid(brain)
    return _search(brain, fixed, [_Pose(rotation, middle) for rotation in starts])


def register_contrast(moving: Image, fixed: Fixed, centre: Float64[np.ndarray, "3"]) -> Registration:
    """Register the image of another contrast, skull included, to a head of the same visit (:func:`fixed_head`).

    Starts are where the headers put both, and where the intensity-weighted centres coincide, each with rotations of up
    to 15 degrees about one axis.

    Args:
        moving: native image.
        fixed: the head to register to.
        centre: intensity-weighted centre of that head, skull included, mm.
    """
    lowest = float(np.percentile(moving.data, 1))
    head = Image(np.maximum(moving.data - lowest, 0).astype(np.float32), moving.grid)
    turns = [np.zeros(3), *(sign * _SMALL * axis for axis in np.eye(3) for sign in (-1, 1))]
    shifts = [np.zeros(3), centroid(head) - centre]
    poses = [
        _Pose(Rotation.from_euler("xyz", turn, degrees=True).as_matrix(), fixed.centroid + shift)
        for shift in shifts
        for turn in turns
    ]
    return _search(head, fixed, poses)


def _search(brain: Image, fixed: Fixed, poses: Sequence[_Pose]) -> Registration:
    """Refine all starts at the first level, the best few at the second, the best at further ones."""
    found: list[tuple[float, _Pose]] = []
    for level, (points, spacing) in enumerate(zip(fixed.levels, fixed.spacings, strict=True)):
        image = _moving(brain, spacing)
        steps = 10 if level == 0 else 30
        found = sorted(
            (_refined(points, fixed.centroid, image, pose, steps) for pose in poses), key=lambda one: -one[0]
        )
        poses = [pose for _, pose in found[: _KEPT if level == 0 else 1]]
    correlation, pose = found[0]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = pose.rotation, pose.centre - pose.rotation @ fixed.centroid
    return Registration(Rigid(matrix), correlation)


def _smoothed(image: Image, sigma: float) -> Image:
    return Image(gaussian_filter(image.data, [sigma / step for step in image.grid.spacing]), image.grid)


def _moving(brain: Image, spacing: float) -> _Moving:
    """Resample the brain to its bounding box and 60 mm around, so that all poses compare background with brain."""
    corners = np.argwhere(brain.data != 0)
    low, high = corners.min(0), corners.max(0)
    affine = brain.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    box = Grid(tuple(int(size) for size in high - low + 1), affine)
    grid = aligned_grid(box, spacing, margin=60.0)
    image, inside = brain.onto(grid)
    smooth = _smoothed(image, spacing / 2)
    gradient = [part / np.float32(spacing) for part in np.gradient(smooth.data)]
    maps = torch.from_numpy(np.stack([smooth.data, *gradient]))
    return _Moving(maps, inside, np.linalg.inv(grid.affine))


class _Sample(NamedTuple):
    """The moving image at the mapped points within its field of view."""

    fixed: Float32[np.ndarray, "n"]
    values: Float32[np.ndarray, "n"]
    gradient: Float32[np.ndarray, "n 3"]
    arms: Float64[np.ndarray, "n 3"]
    """Mapped points relative to the centre of the rotation, mm."""
    correlation: float


def _sample(points: _Points, centre: Float64[np.ndarray, "3"], image: _Moving, pose: _Pose) -> _Sample:
    arms = (points.positions - centre) @ pose.rotation.T
    index = (arms + pose.centre) @ image.to_index[:3, :3].T + image.to_index[:3, 3]
    inside = _inside(image.inside, index)
    # Without most of the brain a correlation is meaningless; the search turns back.
    if inside.mean() < 0.3:
        return _Sample(points.values, points.values * 0, np.zeros((len(arms), 3), np.float32), arms, -1.0)
    sampled = _interpolated(image.maps, index[inside])
    values = np.ascontiguousarray(sampled[:, 0])
    fixed = points.values[inside] if points.classes is None else class_means(points.classes[inside], values)
    return _Sample(fixed, values, sampled[:, 1:], arms[inside], correlation_of(fixed, values))


def _inside(mask: Bool[np.ndarray, "x y z"], index: Float64[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    """Whether the nearest voxel of each position is in a mask."""
    nearest = np.rint(index).astype(np.intp)
    within = ((nearest >= 0) & (nearest < mask.shape)).all(1)
    nearest[~within] = 0
    return mask[nearest[:, 0], nearest[:, 1], nearest[:, 2]] & within


def _interpolated(maps: Float32[Tensor, "c x y z"], index: Float64[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n c"]:
    """Interpolate all maps linearly, with one set of weights: scipy's interpolation, map by map, takes longer."""
    last = np.maximum(np.array(maps.shape[1:]) - 1, 1)
    # grid_sample takes the last axis first, from -1 to 1.
    at = torch.from_numpy((2 * index / last - 1)[:, ::-1].astype(np.float32))
    found = functional.grid_sample(maps[None], at[None, None, None], padding_mode="border", align_corners=True)
    return np.ascontiguousarray(found[0, :, 0, 0].T.numpy())


def class_means(classes: Int64[np.ndarray, "n"], values: Float32[np.ndarray, "n"]) -> Float32[np.ndarray, "n"]:
    """Compute for every point the mean of the values over its class."""
    sums, counts = np.bincount(classes, values), np.bincount(classes)
    return (sums / np.maximum(counts, 1))[classes].astype(np.float32)


def correlation_of(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Compute Pearson's correlation; 0 if either is constant."""
    a, b = first - first.mean(dtype=np.float64), second - second.mean(dtype=np.float64)
    scale = np.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else 0.0


def _refined(
    points: _Points, centre: Float64[np.ndarray, "3"], image: _Moving, pose: _Pose, steps: int
) -> tuple[float, _Pose]:
    """Take Levenberg-Marquardt steps on (1) while the correlation increases."""
    sample = _sample(points, centre, image, pose)
    damping = 1e-3
    for _ in range(steps):
        better = None
        hessian, gradient = _normal_equations(sample)
        for shift in _damped(hessian, gradient, damping):
            tried = _Pose(Rotation.from_rotvec(shift[:3]).as_matrix() @ pose.rotation, pose.centre + shift[3:])
            new = _sample(points, centre, image, tried)
            if new.correlation > sample.correlation:
                better = tried, new, shift
                break
            damping *= 10
        if better is None:
            break
        pose, sample, shift = better
        damping = max(damping / 10, 1e-6)
        if np.linalg.norm(shift[3:]) + _RADIUS * np.linalg.norm(shift[:3]) < _TOLERANCE:
            break
    return sample.correlation, pose


def _normal_equations(sample: _Sample) -> tuple[Float64[np.ndarray, "8 8"], Float64[np.ndarray, "8"]]:
    """Linearise (1) in the rotation, the translation, a and b."""
    linear = np.stack([sample.values, np.ones_like(sample.values)], 1).astype(np.float64)
    coefficients = np.linalg.lstsq(linear, sample.fixed, rcond=None)[0]
    residual = sample.fixed - linear @ coefficients
    motion = np.concatenate([np.cross(sample.arms, sample.gradient), sample.gradient], 1)
    jacobian = np.concatenate([max(coefficients[0], 1e-12) * motion, linear], 1)
    return jacobian.T @ jacobian, jacobian.T @ residual


def _damped(
    hessian: Float64[np.ndarray, "8 8"], gradient: Float64[np.ndarray, "8"], damping: float
) -> Iterator[Float64[np.ndarray, "6"]]:
    """Yield ever shorter steps: rotation vector and translation."""
    for power in range(5):
        damped = hessian + (damping * 10.0**power * np.diag(hessian) + 1e-12) * np.eye(8)
        shift = np.linalg.solve(damped, gradient)[:6]
        angle = float(np.linalg.norm(shift[:3]))
        yield shift * min(1.0, _LARGEST / angle) if angle > 0 else shift
