"""Atlas from which phantoms are deformed: the ICBM 152 template and tissue maps packaged by nilearn.

ICBM 152 nonlinear symmetric, release 2009 (Fonov et al. 2011, "Unbiased average age-appropriate atlases for pediatric
studies"); it is brain-only. Coordinates are MNI millimetres, RAS+.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64
from nilearn import datasets
from scipy import ndimage

FIELD_OF_VIEW = (176.0, 208.0, 176.0)
"""Size of every phantom image in mm; fits the largest heads."""

CENTRE = (0.0, -17.0, 5.0)
"""Centre of every phantom image and of the head scaling, in MNI mm."""

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
    """Template maps and voxel grid of a phantom."""

    tissue: Volume
    """Maps: grey matter, white matter, cerebrospinal fluid (they sum to the brain), and texture: the residual of the
    template's intensity after a linear fit of the tissues (white matter is 1)."""
    fields: Volume
    """Maps: a vector field pointing away from the lateral ventricles, of maximum length 1 (three maps), and the
    proximity to the medial temporal lobes, 0 to 1. Smooth, hence on a coarser grid."""
    affine: Float64[np.ndarray, "4 4"]
    """Affine from voxel indices of a phantom to MNI mm."""
    points: Float32[np.ndarray, "3 x y z"]
    """Coordinates of a phantom's voxels, MNI mm."""


def load_atlas(spacing: float) -> Atlas:
    """Load the atlas for cubic voxels of ``spacing`` mm from files packaged with nilearn; downloads nothing."""
    loaders = (
        datasets.load_mni152_gm_template,
        datasets.load_mni152_wm_template,
        datasets.load_mni152_brain_mask,
        datasets.load_mni152_template,
    )
    images = [load(resolution=1) for load in loaders]
    grey, white, brain, template = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    brain = (brain > 0.5).astype(np.float32)
    grey, white = np.clip(grey, 0, 1) * brain, np.clip(white, 0, 1) * brain
    excess = np.maximum(grey + white, 1)
    grey, white = grey / excess, white / excess
    source = 1 if spacing < 2 else 2
    maps = _pool(np.stack([grey, white, brain - grey - white, brain, template]), source)
    tissues, brain, template = maps[:3], maps[3], maps[4]
    inside = brain > 0.5
    levels = np.linalg.lstsq(tissues[:, inside].T, template[inside], rcond=None)[0]
    texture = (template - np.tensordot(levels, tissues, 1)) / levels[1]
    # Low-pass filter: voxels larger than the atlas's would alias.
    blur = 0.35 * np.sqrt(max(spacing**2 - source**2, 0)) / source
    maps = np.stack([ndimage.gaussian_filter(channel, blur) for channel in (*tissues, texture)])
    first = images[0].affine[:3, 3]
    affine, points = _grid(spacing)
    fields = _fields(_pool(tissues[2:], 4 // source)[0], first + 1.5)
    return Atlas(Volume(maps, first + (source - 1) / 2, float(source)), fields, affine, points)


def _pool(maps: Float32[np.ndarray, "maps x y z"], size: int) -> Float32[np.ndarray, "maps _ _ _"]:
    """Average over cubes of ``size`` voxels; the incomplete cubes at the end, which are background, are dropped."""
    kept = maps[:, *(slice(n // size * size) for n in maps.shape[1:])]
    x, y, z = (n // size for n in kept.shape[1:])
    return kept.reshape(-1, x, size, y, size, z, size).mean((2, 4, 6))


def _grid(spacing: float) -> tuple[Float64[np.ndarray, "4 4"], Float32[np.ndarray, "3 x y z"]]:
    shape = [int(np.ceil(size / spacing - 1e-6)) for size in FIELD_OF_VIEW]
    origin = np.array(CENTRE) - spacing * (np.array(shape) - 1) / 2
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin
    axes = [start + spacing * np.arange(n) for start, n in zip(origin, shape, strict=True)]
    return affine, np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def _fields(fluid: Float32[np.ndarray, "x y z"], origin: Float64[np.ndarray, "3"]) -> Volume:
    """Compute the smooth fields from cerebrospinal fluid in voxels of 4 mm."""
    axes = [start + 4.0 * np.arange(n) for start, n in zip(origin, fluid.shape, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    # The box holds the lateral ventricles; behind y = -34 the fluid at the midline is the quadrigeminal cistern.
    box = (np.abs(x) < 34) & (y > -46) & (y < 32) & (z > 0) & (z < 32) & ((np.abs(x) > 10) | (y > -34))
    ventricles = np.where(box & (fluid > 0.3), fluid, 0)
    smooth = ndimage.gaussian_filter(ventricles, 6.0 / 4.0)
    away = -np.stack(np.gradient(smooth))
    away /= np.sqrt((away**2).sum(0)).max()
    proximity = sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * 9.0**2)) for a, b, c in _MEDIAL_TEMPORAL
    )
    return Volume(np.concatenate([away, proximity[None]]).astype(np.float32), origin, 4.0)
