"""The average brain that phantoms are deformed from: the ICBM 152 template and tissue maps that nilearn packages.

ICBM 152 nonlinear symmetric, release 2009 (Fonov et al. 2011, "Unbiased average age-appropriate atlases for pediatric
studies"); it is brain-only. Coordinates are MNI millimetres, RAS+.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64
from nilearn import datasets
from scipy import ndimage

FIELD_OF_VIEW = (176.0, 208.0, 176.0)
"""Size of every phantom image in mm: the largest heads fit."""

CENTRE = (0.0, -17.0, 5.0)
"""Centre of every phantom image, and of the scaling of heads, in MNI mm."""

_MEDIAL_TEMPORAL = ((-26.0, -18.0, -18.0), (26.0, -18.0, -18.0))
"""Centres of the two hippocampi in MNI mm."""


class Volume(NamedTuple):
    """Maps on one grid in MNI space: channels first, cubic voxels."""

    data: Float32[np.ndarray, "maps x y z"]
    origin: Float64[np.ndarray, "3"]
    """MNI coordinates of the first voxel's centre, mm."""
    spacing: float
    """Size of a voxel, mm."""

    def sample(self, points: Float32[np.ndarray, "3 *s"]) -> Float32[np.ndarray, "maps *s"]:
        """Linear interpolation at points in MNI mm; zero outside."""
        shape = (3,) + (1,) * (points.ndim - 1)
        index = (points - self.origin.reshape(shape).astype(np.float32)) / np.float32(self.spacing)
        return np.stack([ndimage.map_coordinates(channel, index, order=1, output=np.float32) for channel in self.data])


class Atlas(NamedTuple):
    """What a phantom is made from."""

    tissue: Volume
    """Maps: grey matter, white matter, cerebrospinal fluid (they sum to the brain), and texture: what the template's
    intensity has beyond its tissues' (white matter is 1)."""
    fields: Volume
    """Maps: a vector field pointing away from the lateral ventricles, longest 1 (three maps), and the nearness of the
    medial temporal lobes, 0 to 1. Smooth, hence coarser."""
    affine: Float64[np.ndarray, "4 4"]
    """Voxel indices of a phantom to MNI mm."""
    points: Float32[np.ndarray, "3 x y z"]
    """MNI mm of a phantom's voxels."""


def load_atlas(spacing: float) -> Atlas:
    """The atlas for phantoms of cubic voxels of ``spacing`` mm. Reads what nilearn ships; downloads nothing."""
    source = 1 if spacing < 2 else 2
    images = [
        load(resolution=source)
        for load in (
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
            datasets.load_mni152_brain_mask,
            datasets.load_mni152_template,
        )
    ]
    grey, white, brain, template = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    origin = images[0].affine[:3, 3]
    brain = (brain > 0.5).astype(np.float32)
    grey, white = np.clip(grey, 0, 1) * brain, np.clip(white, 0, 1) * brain
    excess = np.maximum(grey + white, 1)
    grey, white = grey / excess, white / excess
    fluid = brain - grey - white
    inside = brain > 0
    tissues = np.stack([grey[inside], white[inside], fluid[inside]], axis=1)
    levels = np.linalg.lstsq(tissues, template[inside], rcond=None)[0]
    texture = np.zeros_like(template)
    texture[inside] = (template[inside] - tissues @ levels) / levels[1]
    # Voxels larger than the atlas's would alias.
    blur = 0.35 * np.sqrt(max(spacing**2 - source**2, 0)) / source
    maps = np.stack([ndimage.gaussian_filter(channel, blur) for channel in (grey, white, fluid, texture)])
    affine, points = _grid(spacing)
    return Atlas(Volume(maps, origin, float(source)), _fields(fluid, origin, source), affine, points)


def _grid(spacing: float) -> tuple[Float64[np.ndarray, "4 4"], Float32[np.ndarray, "3 x y z"]]:
    shape = [int(np.ceil(size / spacing - 1e-6)) for size in FIELD_OF_VIEW]
    origin = np.array(CENTRE) - spacing * (np.array(shape) - 1) / 2
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin
    axes = [start + spacing * np.arange(n) for start, n in zip(origin, shape, strict=True)]
    return affine, np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def _fields(fluid: Float32[np.ndarray, "x y z"], origin: Float64[np.ndarray, "3"], source: int) -> Volume:
    step = 4 // source
    coarse = ndimage.uniform_filter(fluid, step)[::step, ::step, ::step]
    axes = [start + 4.0 * np.arange(n) for start, n in zip(origin, coarse.shape, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    # The box holds the lateral ventricles; behind y = -34 the fluid at the midline is the quadrigeminal cistern.
    box = (np.abs(x) < 34) & (y > -46) & (y < 32) & (z > 0) & (z < 32) & ((np.abs(x) > 10) | (y > -34))
    ventricles = np.where(box & (coarse > 0.3), coarse, 0)
    smooth = ndimage.gaussian_filter(ventricles, 6.0 / 4.0)
    away = -np.stack(np.gradient(smooth))
    away /= np.sqrt((away**2).sum(0)).max()
    nearness = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * 9.0**2)) for a, b, c in _MEDIAL_TEMPORAL)
    return Volume(np.concatenate([away, nearness[None]]).astype(np.float32), origin, 4.0)
