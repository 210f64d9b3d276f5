"""Bias field by N4 (Tustison et al. 2010), in SimpleITK, estimated inside the brain on voxels of about 8 mm."""

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import affine_transform

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.images.itk import simpleitk

_SPACING = 8.0
"""Approximate size in mm of the voxels on which the field is estimated."""


def log_bias(image: Image, mask: Bool[np.ndarray, "x y z"]) -> Image:
    """Estimate the logarithm of the multiplicative bias field, on a coarse grid over the same field of view.

    Raises:
        ImageFileError: SimpleITK is missing.
    """
    itk = simpleitk()
    steps = [max(1, round(_SPACING / step)) for step in image.grid.spacing]
    part = tuple(slice(None, None, step) for step in steps)
    # N4 takes logarithms: it needs positive intensities, and ignores all outside the mask.
    data = np.maximum(image.data[part], 1e-3 * float(image.data[mask].mean()))
    shrunk, inside = _as_itk(data), _as_itk(mask[part].astype(np.uint8))
    shrunk.SetSpacing([step * size for step, size in zip(image.grid.spacing, steps, strict=True)])
    inside.CopyInformation(shrunk)
    n4 = itk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)  # the order of sums, and so the last bits, depends on it
    n4.Execute(shrunk, inside)
    field = itk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(shrunk)).transpose(2, 1, 0)
    affine = image.grid.affine @ np.diag([*map(float, steps), 1.0])
    return Image(np.ascontiguousarray(field, np.float32), Grid(field.shape, affine))


def corrected(image: Image, log_field: Image) -> Image:
    """Divide an image by a bias field, interpolated linearly."""
    matrix, offset = image.grid.indices_in(log_field.grid)
    field = affine_transform(log_field.data, matrix, offset, image.grid.shape, order=1, mode="nearest")
    return Image((image.data / np.exp(field)).astype(np.float32), image.grid)


def _as_itk(data: np.ndarray):  # type: ignore[no-untyped-def]  # SimpleITK has no types
    return simpleitk().GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
