"""Prepare an image of another contrast (T2w, FLAIR) by the prepared T1w of its visit."""

import numpy as np
from jaxtyping import Bool

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.bias import corrected, log_bias
from metavoxel.preparation.head import Prepared, tilt
from metavoxel.preparation.quality import Quality, correlation_ratio, share_at_edge, symmetry_of
from metavoxel.preparation.registration import fixed_head, register_contrast
from metavoxel.preparation.rigid import Rigid
from metavoxel.preparation.starts import centroid

_LEAST_COVERED = 0.5
"""Share of the brain that an image must cover."""


def prepare_contrast(native: Image, head: Image, first: Prepared, *, bias: bool = True) -> Prepared:
    """Prepare an image of another contrast.

    It is registered to the native T1w by the correlation ratio, corrected for its bias field inside the brain of the
    T1w, and registered again. Both maps are composed, and the image is interpolated once.

    Args:
        native: image in canonical axes.
        head: native T1w of the same visit, in canonical axes.
        first: the T1w, prepared.
        bias: whether to correct the bias field.

    Raises:
        ValueError: it does not cover the brain.
    """
    own = first.native_mask.data > 0.5
    t1w = head if first.log_field is None else corrected(head, first.log_field)
    fixed, centre = fixed_head(t1w, own), centroid(t1w)
    between = register_contrast(native, fixed, centre).rigid
    image, log_field = native, None
    if bias:
        log_field = log_bias(native, _brain_on(native.grid, first, between))
        image = corrected(native, log_field)
        between = register_contrast(image, fixed, centre).rigid
    rigid = between.after(first.rigid)
    mask = _brain_on(native.grid, first, between)
    target = first.image.grid
    moved, covered = Image(image.data, rigid.inverse().moved(image.grid)).onto(target)
    brain = first.mask.data > 0.5
    inside = brain & covered
    missing = 1 - float(inside.sum()) / float(brain.sum())
    result = Image(np.where(inside, np.maximum(moved.data, 0), 0).astype(np.float32), target)
    volume = float(inside.sum()) * float(np.prod(target.spacing)) / 1000
    quality = Quality(
        correlation_ratio(result, first.image, inside),
        symmetry_of(result, inside),
        volume,
        max(missing, share_at_edge(mask)),
        tilt(native.grid, rigid),
    )
    native_mask = Image(mask.astype(np.float32), native.grid)
    return Prepared(result, Image(inside.astype(np.float32), target), native_mask, log_field, rigid, quality, ())


def _brain_on(grid: Grid, first: Prepared, between: Rigid) -> Bool[np.ndarray, "x y z"]:
    """Move the brain of the T1w to the grid of the other image.

    Raises:
        ValueError: less than half of the brain is in its field of view.
    """
    own = first.native_mask
    mask = Image(own.data, between.moved(own.grid)).onto(grid)[0].data > 0.5
    share = float(mask.sum() * abs(np.linalg.det(grid.affine[:3, :3])))
    share /= float((own.data > 0.5).sum() * abs(np.linalg.det(own.grid.affine[:3, :3])))
    if share < _LEAST_COVERED:
        raise ValueError(f"covers {share:.0%} of the brain in the T1w of its visit, and at least half is needed")
    return mask
