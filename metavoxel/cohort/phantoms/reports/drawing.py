"""Pictures of simulated heads: an ellipse with two ventricles, a lesion or none, texture and noise."""

import numpy as np
from jaxtyping import Float64, UInt8
from scipy import ndimage
from scipy.special import expit

from metavoxel.cohort.phantoms.reports.heads import Head

HALF_WIDTH, HALF_HEIGHT = 0.75, 0.87
"""Half-axes of an average head, as shares of half the picture."""
VENTRICLE_HEIGHT = 0.28
"""Half-height of a ventricle."""
BRAIN, FLUID = 0.55, 0.12
"""Intensities between 0 and 1."""

_RADII = {"small": (0.08, 0.10), "large": (0.15, 0.18)}
_CONTRASTS = {"bright": (0.25, 0.38), "dark": (-0.35, -0.22)}
_LESION_X, _LESION_Y = (0.28, 0.38), (0.48, 0.55)
_TEXTURE_SD, _TEXTURE_SCALE = 0.02, 0.08
_EDGE = 0.5
"""Width of an edge, in pixels."""


def draw_picture(
    head: Head, pixels: int, noise: float, random: np.random.Generator
) -> UInt8[np.ndarray, "pixels pixels"]:
    """Draw the picture of a head: rows from the forehead down, columns from left to right.

    Args:
        head: generating factors.
        pixels: rows and columns.
        noise: standard deviation of the noise, as a share of the intensity range.
        random: of position, radius and contrast of the lesion, texture and noise.
    """
    axis = (np.arange(pixels) + 0.5) * 2 / pixels - 1
    y, x = np.meshgrid(axis / head.head, axis / head.head, indexing="ij")
    # All are drawn for every head, so that the noise does not depend on the facts.
    place = random.uniform(size=4)
    texture = ndimage.gaussian_filter(random.normal(size=(pixels, pixels)), _TEXTURE_SCALE * pixels / 2)
    brain = BRAIN + _TEXTURE_SD * texture / texture.std()
    inside = _ellipse(x, y, HALF_WIDTH, HALF_HEIGHT, pixels)
    width = max(head.ventricle, 0.01)
    fluid = np.maximum(*(_ellipse(x - sign * width, y, width, VENTRICLE_HEIGHT, pixels) for sign in (-1, 1)))
    image = inside * brain + fluid * (FLUID - brain)
    if head.lesion is not None:
        across, along = _between(_LESION_X, place[0]), _between(_LESION_Y, place[1])
        across = -across if head.lesion.side == "left" else across
        along = -along if head.lesion.lobe == "frontal" else along
        radius = _between(_RADII[head.lesion.size], place[2])
        spot = _ellipse(x - across, y - along, radius, radius, pixels)
        image = image + spot * _between(_CONTRASTS[head.lesion.signal], place[3])
    image = image + noise * random.normal(size=(pixels, pixels))
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _between(bounds: tuple[float, float], share: float) -> float:
    low, high = bounds
    return low + (high - low) * share


def _ellipse(
    x: Float64[np.ndarray, "n n"], y: Float64[np.ndarray, "n n"], width: float, height: float, pixels: int
) -> Float64[np.ndarray, "n n"]:
    """Return 1 inside an ellipse around 0, 0 outside, with a smooth edge."""
    distance = (1 - np.hypot(x / width, y / height)) * min(width, height) * pixels / 2
    return expit(distance / _EDGE)
