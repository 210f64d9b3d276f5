"""Render the image of a phantom from its factors and from nuisance independent of age, sex and diagnosis."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int16
from scipy.interpolate import BSpline

from metavoxel.cohort.phantoms.atlas import CENTRE, FIELD_OF_VIEW, Atlas
from metavoxel.cohort.phantoms.factors import Site

WHITE = 1000
"""Stored intensity of white matter in a T1w image (of cerebrospinal fluid in a T2w image)."""

_COARSE, _FINE = 40.0, 18.0
"""Knot distances of the individual deformation, mm."""

_COARSE_SD, _FINE_SD = 2.0, 1.0
"""Standard deviations of its coefficients, mm."""

_BIAS_KNOTS, _BIAS_SD = 70.0, 0.08
"""Knot distance of the log bias field, mm, and standard deviation of its coefficients."""

_GAIN_SD = 0.10
"""Standard deviation of the log gain of an image."""


def _spline(
    points: Float64[np.ndarray, " n"], low: float, high: float, distance: float
) -> Float32[np.ndarray, "n knots"]:
    """Cubic B-splines whose knots lie ``distance`` apart over [low, high]."""
    pieces = max(1, round((high - low) / distance))
    width = (high - low) / pieces
    knots = low + width * np.arange(-3, pieces + 4)
    inside = np.clip(points, low, high)
    return BSpline.design_matrix(inside, knots, 3).toarray().astype(np.float32)


def smooth_field(
    points: Float32[np.ndarray, "3 x y z"], distance: float, channels: int, generator: np.random.Generator
) -> Float32[np.ndarray, "channels x y z"]:
    """Draw random cubic B-spline fields over the field of view, with standard normal coefficients.

    Fields are functions of position in mm: the same at every voxel size.
    """
    axes = (points[0][:, 0, 0], points[1][0, :, 0], points[2][0, 0, :])
    bases = [
        _spline(axis.astype(np.float64), centre - size / 2, centre + size / 2, distance)
        for axis, centre, size in zip(axes, CENTRE, FIELD_OF_VIEW, strict=True)
    ]
    knots = generator.standard_normal((channels, *(basis.shape[1] for basis in bases)), dtype=np.float32)
    for basis in bases:
        # Contract the first grid axis; the new axis is last, so that three contractions restore the order x, y, z.
        knots = np.tensordot(knots, basis, axes=([1], [1]))
    return knots


class Anatomy(NamedTuple):
    """Tissues of one subject on the grid of its images."""

    grey: Float32[np.ndarray, "x y z"]
    white: Float32[np.ndarray, "x y z"]
    fluid: Float32[np.ndarray, "x y z"]
    texture: Float32[np.ndarray, "x y z"]


def deform(atlas: Atlas, factors: Mapping[str, float], generator: np.random.Generator) -> Anatomy:
    """Deform the atlas to the anatomy of a subject: head scale, individual deformation, wider ventricles and sulci."""
    centre = np.array(CENTRE, dtype=np.float32).reshape(3, 1, 1, 1)
    scale = np.exp([factors["breadth"], factors["length"], factors["height"]]).astype(np.float32).reshape(3, 1, 1, 1)
    points = centre + (atlas.points - centre) / scale
    points = points + _COARSE_SD * smooth_field(atlas.points, _COARSE, 3, generator)
    points = points + _FINE_SD * smooth_field(atlas.points, _FINE, 3, generator)
    fields = atlas.fields.sample(points)
    points = points - np.float32(factors["ventricle"]) * fields[:3]
    grey, white, fluid, texture = atlas.tissue.sample(points)
    brain = np.clip(grey + white + fluid, 1e-6, None)
    share = np.clip(fluid / brain, 0, 1)
    # Scale odds instead of distances: partial volumes widen smoothly, and white matter far from fluid is unchanged.
    odds = np.exp(np.float32(factors["sulcus"]))
    if "focus" in factors:
        # Hippocampi border no sulcus at this scale: give their grey matter a share of fluid that can grow.
        share = np.maximum(share, 0.12 * fields[3] * grey / brain)
        odds = odds * np.exp(np.float32(factors["focus"]) * fields[3])
    wide = share * odds / (1 - share + share * odds)
    rest = (1 - wide) / np.clip(1 - share, 1e-3, None)
    return Anatomy(grey * rest, white * rest, wide * brain, texture)


def render(
    anatomy: Anatomy,
    atlas: Atlas,
    contrast: Literal["T1w", "T2w"],
    grey: float,
    noise: float,
    site: Site,
    generator: np.random.Generator,
) -> Int16[np.ndarray, "x y z"]:
    """Simulate one scan of an anatomy: tissue and site contrast, gain, bias field and noise; zero outside the brain.

    Args:
        anatomy: tissues on the atlas's grid.
        atlas: atlas of the anatomy.
        contrast: BIDS suffix of the image.
        grey: intensity of grey matter as a share of white matter's (T1w only).
        noise: sd of the noise, as a share of white matter's intensity in T1w.
        site: 'A' leaves the contrast unchanged; 'B' flattens it (power 0.8) and has 1.5 times the noise.
        generator: random generator of this scan.
    """
    if contrast == "T1w":
        image = grey * anatomy.grey + anatomy.white + 0.22 * anatomy.fluid + anatomy.texture
    else:
        image = 0.6 * anatomy.grey + 0.42 * anatomy.white + anatomy.fluid - 0.5 * anatomy.texture
    image = np.clip(image, 0, None)
    if site == "B":
        image, noise = image**0.8, 1.5 * noise
    log_gain = _GAIN_SD * generator.standard_normal()
    log_gain = log_gain + _BIAS_SD * smooth_field(atlas.points, _BIAS_KNOTS, 1, generator)[0]
    brain = np.clip(anatomy.grey + anatomy.white + anatomy.fluid, 0, 1)
    noisy = image * np.exp(log_gain) + noise * brain * generator.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(WHITE * noisy), 0, np.iinfo(np.int16).max).astype(np.int16)
