"""Figures of a registered brain that reveal a wrong registration or mask, and the limits beyond which it is flagged.

Two correlations are computed at 4 mm, where noise and individual anatomy matter little: with the template over the
union of both masks, and of the brain with its mirror image. Overlap of masks does not reveal a wrong pose: a brain
turned by 35 degrees still has a Dice coefficient of .8.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32
from pydantic import BaseModel, ConfigDict

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.registration import FINE, class_means, correlation_of, intensity_classes

LEAST_CORRELATION = 0.45
"""Correlation within the masks below which an image is flagged whatever its cohort. Children and adults of
ds000228 have .6 or more; brains in wrong poses have .3 or less."""
LEAST_SYMMETRY = 0.5
VOLUMES = (600.0, 2500.0)
"""Range of plausible brain masks in ml, children included."""
MOST_CUT = 0.02
DEVIATIONS = 6.0
"""Robust standard deviations from its cohort's median beyond which an image is suspicious."""
ENOUGH = 8
"""Images from which a cohort's own spread is estimated."""
_LEAST_MARGIN = 0.01
"""Smallest margin of a correlation: a cohort of phantoms has hardly any spread."""


class Quality(NamedTuple):
    """Figures of one image.

    Attributes:
        correlation: absolute, with the template; of other contrasts, the root of the correlation ratio given the T1w.
        symmetry: correlation with the left-right mirrored image.
        volume: of the brain mask, ml.
        cut: share of the brain mask in the outermost voxels of the native field of view.
        angle: rotation from the axes of the image to those of the template, degrees.
    """

    correlation: float
    symmetry: float
    volume: float
    cut: float
    angle: float


class Spread(BaseModel):
    """Median of a figure over a cohort, and its robust standard deviation, which a few failures do not widen."""

    model_config = ConfigDict(frozen=True)

    median: float
    deviation: float

    def margin(self, least: float) -> float:
        """Distance from the median beyond which an image is suspicious."""
        return max(DEVIATIONS * self.deviation, least)


def spread(values: Sequence[float]) -> Spread:
    """Compute the spread of a figure; the deviation is 1.4826 times the median absolute one."""
    middle = float(np.median(values))
    return Spread(median=middle, deviation=1.4826 * float(np.median(np.abs(np.array(values) - middle))))


def similarity(image: Image, mask: Bool[np.ndarray, "x y z"], template: Image, brain: Image) -> tuple[float, float]:
    """Compute correlation and symmetry of an image in the template's space; see :class:`Quality`."""
    grid = template.grid.resampled(FINE)
    moved, own = _coarse(image, mask, grid)
    reference = _at(template, grid)
    union = own | (_at(brain, grid) > 0.5)
    if not own.any():
        return 0.0, 0.0
    return abs(correlation_of(moved[union], reference[union])), _symmetry(moved, own)


def symmetry_of(image: Image, mask: Bool[np.ndarray, "x y z"]) -> float:
    """Compute the symmetry of an image in the template's space; see :class:`Quality`."""
    return _symmetry(*_coarse(image, mask, image.grid.resampled(FINE)))


def correlation_ratio(image: Image, given: Image, mask: Bool[np.ndarray, "x y z"]) -> float:
    """Compute the root of the correlation ratio of an image given one of another contrast on the same grid.

    It is the correlation with the best function of the other's intensities (Roche et al. 1998), in the mask at 4 mm.
    """
    grid = image.grid.resampled(FINE)
    values, own = _coarse(image, mask, grid)
    if not own.any():
        return 0.0
    classes = intensity_classes(_at(given, grid)[own])
    return correlation_of(class_means(classes, values[own]), values[own])


def _coarse(
    image: Image, mask: Bool[np.ndarray, "x y z"], grid: Grid
) -> tuple[Float32[np.ndarray, "a b c"], Bool[np.ndarray, "a b c"]]:
    """Resample an image, 0 outside its mask, and the mask."""
    inside = Image(mask.astype(np.float32), image.grid)
    return _at(Image(image.data * inside.data, image.grid), grid), _at(inside, grid) > 0.5


def _symmetry(moved: Float32[np.ndarray, "a b c"], own: Bool[np.ndarray, "a b c"]) -> float:
    both = own | own[::-1]
    return correlation_of(moved[both], moved[::-1][both])


def share_at_edge(mask: Bool[np.ndarray, "x y z"]) -> float:
    """Compute the share of a mask in the outermost voxels."""
    inner = mask[1:-1, 1:-1, 1:-1].sum()
    return float(1 - inner / mask.sum()) if mask.any() else 1.0


def reasons(quality: Quality, *, contrast: bool = False) -> list[str]:
    """List why an image is suspicious by itself; correlations of other contrasts have no limit of their own."""
    low, high = VOLUMES
    found = []
    if quality.correlation < LEAST_CORRELATION and not contrast:
        found.append(f"correlation with the template {quality.correlation:.2f}, below {LEAST_CORRELATION:g}")
    if quality.symmetry < LEAST_SYMMETRY:
        found.append(f"left-right symmetry {quality.symmetry:.2f}, below {LEAST_SYMMETRY:g}")
    if not low <= quality.volume <= high:
        found.append(f"brain of {quality.volume:.0f} ml, outside {low:g} to {high:g}")
    if quality.cut > MOST_CUT:
        found.append(f"{quality.cut:.0%} of the brain at the edge of the field of view, above {MOST_CUT:.0%}: cut")
    return found


def flags(qualities: Mapping[str, Quality], *, contrast: bool = False) -> dict[str, list[str]]:
    """List for each image why it is suspicious: by itself, and by the spread of its cohort (from 8 images on)."""
    found = {name: reasons(quality, contrast=contrast) for name, quality in qualities.items()}
    if len(qualities) < ENOUGH:
        return found
    for figure in ("correlation", "symmetry"):
        values = {name: float(getattr(quality, figure)) for name, quality in qualities.items()}
        usual = spread(list(values.values()))
        limit = usual.median - usual.margin(_LEAST_MARGIN)
        for name, value in values.items():
            if value < limit:
                found[name].append(f"{figure} {value:.3f}, below {limit:.3f}, the limit by the spread of this cohort")
    return found


def _at(image: Image, grid: Grid) -> Float32[np.ndarray, "x y z"]:
    return image.onto(grid)[0].data
