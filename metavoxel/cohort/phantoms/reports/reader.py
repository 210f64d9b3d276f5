"""Read the facts of a picture from its intensities alone, without the generating factors."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from scipy import ndimage

from metavoxel.cohort.phantoms.reports.drawing import BRAIN, FLUID, HALF_HEIGHT, HALF_WIDTH, VENTRICLE_HEIGHT
from metavoxel.cohort.phantoms.reports.heads import Facts, Lesion, Lobe, Side, Size, grade

LEAST_CONTRAST = 0.1
"""Smallest difference of a smoothed lesion from the brain around it."""
LARGE = 0.125
"""Radius from which on a lesion is large, as a share of half the picture."""
_SMOOTHING = 0.04
"""Standard deviation of the smoothing before contrasts are compared."""
_MARGIN, _CENTRE, _NEAR = 0.08, 0.06, 0.24
"""Distance of the lobes from the ventricles' height, and radii around a lesion's centre."""


class Reading(NamedTuple):
    """Facts of a picture, and the lengths that they were read from, in shares of half the picture."""

    facts: Facts
    ventricle: float
    head: float


def read_picture(picture: Shaped[np.ndarray, "n n"]) -> Reading | None:
    """Read a picture: intensities from 0 to 255; None if it shows no head.

    The ventricles' width is that of the fluid between the lobes. A lesion is the place of the greatest contrast to the
    brain, and its size is the area of more than half its contrast.
    """
    image = np.asarray(picture, np.float64) / 255
    pixels = len(image)
    smooth = ndimage.gaussian_filter(image, _SMOOTHING * pixels / 2)
    inside = ndimage.binary_fill_holes(smooth > BRAIN / 2)
    head = float(np.sqrt(inside.sum() * (2 / pixels) ** 2 / (np.pi * HALF_WIDTH * HALF_HEIGHT)))
    if not 0.5 < head < 1.3:
        return None
    axis = (np.arange(pixels) + 0.5) * 2 / pixels - 1
    rows, columns = ndimage.center_of_mass(inside)
    y, x = np.meshgrid((axis - axis[0]) / head, (axis - axis[0]) / head, indexing="ij")
    y, x = y - rows * 2 / pixels / head, x - columns * 2 / pixels / head
    radius = np.hypot(x / HALF_WIDTH, y / HALF_HEIGHT)
    within, outside = radius < 1 - 3 / pixels, np.abs(y) > VENTRICLE_HEIGHT + _MARGIN / 4
    lobes = (radius < 0.84) & (np.abs(y) > VENTRICLE_HEIGHT + _MARGIN)
    level = float(np.median(image[lobes]))
    between = within & (np.abs(y) < VENTRICLE_HEIGHT + _MARGIN)
    fluid = (image[between] < (level + FLUID) / 2).sum() * (2 / pixels / head) ** 2
    ventricle = float(fluid / (2 * np.pi * VENTRICLE_HEIGHT))
    lesion = _lesion(smooth - level, image - level, lobes, within & outside, x, y)
    return Reading(Facts(lesion, grade(ventricle)), ventricle, head)


def _lesion(
    smooth: Float64[np.ndarray, "n n"],
    contrast: Float64[np.ndarray, "n n"],
    lobes: Bool[np.ndarray, "n n"],
    brain: Bool[np.ndarray, "n n"],
    x: Float64[np.ndarray, "n n"],
    y: Float64[np.ndarray, "n n"],
) -> Lesion | None:
    strength = np.where(lobes, np.abs(smooth), 0)
    row, column = np.unravel_index(int(strength.argmax()), strength.shape)
    if strength[row, column] < LEAST_CONTRAST:
        return None
    distance = np.hypot(x - x[row, column], y - y[row, column])
    peak = float(np.median(contrast[distance < _CENTRE]))
    area = (contrast[brain & (distance < _NEAR)] * np.sign(peak) > abs(peak) / 2).sum() * (x[0, 1] - x[0, 0]) ** 2
    side: Side = "left" if x[row, column] < 0 else "right"
    lobe: Lobe = "frontal" if y[row, column] < 0 else "occipital"
    size_read: Size = "large" if np.sqrt(area / np.pi) > LARGE else "small"
    return Lesion(side, lobe, size_read, "bright" if peak > 0 else "dark")
