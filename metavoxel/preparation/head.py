"""Prepare one head: brain mask, bias field, rigid map to the template, and one interpolation."""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.bias import corrected, log_bias
from metavoxel.preparation.extractors import AbstractExtractor
from metavoxel.preparation.quality import VOLUMES, Quality, share_at_edge, similarity
from metavoxel.preparation.registration import Fixed, Registration, fixed_brain, register
from metavoxel.preparation.rigid import Rigid
from metavoxel.preparation.starts import all_rotations
from metavoxel.preparation.template import load_template, space_grid

TILTED = 15.0
"""Rotation to the template in degrees from which a head is extracted again, upright."""
FOLLOW_UP = (8.0, 4.0, 2.0)
"""Levels of the registration of a follow-up to its baseline, mm: the same anatomy has detail to align."""
_UPRIGHT_MARGIN = 20.0
_SURE = 0.9
"""Correlation of a registration, background included, from which no other orientation is tried: right poses have .92 or
more, wrong ones .85 or less."""


@final
@dataclass(frozen=True, eq=False)
class Template:
    """The template, its brain mask, and both prepared for registration."""

    image: Image
    brain: Image
    fixed: Fixed


class Prepared(NamedTuple):
    """A prepared head.

    Attributes:
        image: brain in the template's space, bias corrected, 0 outside the mask.
        mask: its brain mask (0 or 1).
        native_mask: brain mask on the native grid.
        log_field: logarithm of the bias field on a coarse native grid; None if it was not corrected.
        rigid: map from template to native mm.
        quality: figures of the result.
        notes: what was done beyond the usual.
    """

    image: Image
    mask: Image
    native_mask: Image
    log_field: Image | None
    rigid: Rigid
    quality: Quality
    notes: tuple[str, ...]


def load_registration_template() -> Template:
    """Load the template and prepare it for registration."""
    image, brain = load_template()
    return Template(image, brain, fixed_brain(image, brain.data > 0.5))


def prepare_head(
    native: Image,
    extractor: AbstractExtractor,
    template: Template,
    *,
    spacing: float,
    bias: bool = True,
    baseline: Prepared | None = None,
) -> Prepared:
    """Prepare one head.

    Args:
        native: image in canonical axes.
        extractor: method of brain extraction.
        template: space of the result.
        spacing: size of the result's voxels, mm.
        bias: whether to correct the bias field.
        baseline: the subject's prepared baseline, to which a follow-up is registered.

    Raises:
        ValueError: no brain was found.
    """
    notes = []
    mask = extractor.extract(native)
    _check_mask(mask)
    found, far = _to_template(native, mask, template)
    if extractor.upright and (tilt(native.grid, found.rigid) > TILTED or not _plausible(mask, native.grid)):
        mask = _upright_mask(native, extractor, found.rigid, mask)
        found, far = _to_template(native, mask, template)
        notes.append("brain extracted again after the head had been turned upright")
    if far:
        notes.append("all orientations were tried")
    log_field = log_bias(native, mask) if bias else None
    image = native if log_field is None else corrected(native, log_field)
    if baseline is None:
        rigid = register(image, mask, template.fixed, rotations=[found.rigid.matrix[:3, :3]]).rigid
    else:
        rigid = _to_baseline(image, mask, found, baseline)
    brain, inside = resampled(image, mask, rigid, spacing)
    correlation, symmetry = similarity(brain, inside.data > 0.5, template.image, template.brain)
    quality = Quality(
        correlation, symmetry, _millilitres(mask, native.grid), share_at_edge(mask), tilt(native.grid, rigid)
    )
    native_mask = Image(mask.astype(np.float32), native.grid)
    return Prepared(brain, inside, native_mask, log_field, rigid, quality, tuple(notes))


def resampled(image: Image, mask: Bool[np.ndarray, "x y z"], rigid: Rigid, spacing: float) -> tuple[Image, Image]:
    """Resample the image and its mask into the template's space, the image by one interpolation; 0 outside the mask."""
    grid, back = space_grid(spacing), rigid.inverse()
    moved, _ = Image(image.data, back.moved(image.grid)).onto(grid)
    inside, _ = Image(mask.astype(np.float32), back.moved(image.grid)).onto(grid)
    brain = inside.data > 0.5
    return (
        Image(np.where(brain, np.maximum(moved.data, 0), 0).astype(np.float32), grid),
        Image(brain.astype(np.float32), grid),
    )


def _to_template(image: Image, mask: Bool[np.ndarray, "x y z"], template: Template) -> tuple[Registration, bool]:
    """Register to the template; where no near pose fits, from all orientations."""
    found = register(image, mask, template.fixed)
    if found.correlation >= _SURE:
        return found, False
    other = register(image, mask, template.fixed, rotations=all_rotations())
    return (other if other.correlation > found.correlation else found), True


def _to_baseline(image: Image, mask: Bool[np.ndarray, "x y z"], found: Registration, baseline: Prepared) -> Rigid:
    """Register to the registered baseline, which is in the template's space: so is the result."""
    fixed = fixed_brain(baseline.image, baseline.mask.data > 0.5, FOLLOW_UP)
    return register(image, mask, fixed, rotations=[found.rigid.matrix[:3, :3]]).rigid


def _upright_mask(
    native: Image, extractor: AbstractExtractor, rigid: Rigid, mask: Bool[np.ndarray, "x y z"]
) -> Bool[np.ndarray, "x y z"]:
    """Extract the brain of the head turned upright, and take its mask back to the native grid."""
    step = min(native.grid.spacing)
    grid = space_grid(max(step, 1.0))
    wide = grid.padded([size + 2 * round(_UPRIGHT_MARGIN / max(step, 1.0)) for size in grid.shape])
    turned, _ = Image(native.data, rigid.inverse().moved(native.grid)).onto(wide, native.background())
    upright = extractor.extract(turned)
    back, _ = Image(upright.astype(np.float32), rigid.moved(wide)).onto(native.grid)
    again = back.data > 0.5
    return again if again.any() else mask


def tilt(grid: Grid, rigid: Rigid) -> float:
    """Compute the angle in degrees between the axes of the image, not of its header's space, and the template's."""
    frame = np.eye(4)
    frame[:3, :3] = np.linalg.qr(grid.directions())[0]
    frame[:3, :3] *= np.sign((frame[:3, :3] * grid.directions()).sum(0))
    return Rigid(np.linalg.inv(frame) @ rigid.matrix).angle


def _check_mask(mask: Bool[np.ndarray, "x y z"]) -> None:
    if not mask.any():
        raise ValueError("no brain was found: the mask is empty")


def _plausible(mask: Bool[np.ndarray, "x y z"], grid: Grid) -> bool:
    low, high = VOLUMES
    return low <= _millilitres(mask, grid) <= high


def _millilitres(mask: Bool[np.ndarray, "x y z"], grid: Grid) -> float:
    return float(mask.sum()) * abs(float(np.linalg.det(grid.affine[:3, :3]))) / 1000
