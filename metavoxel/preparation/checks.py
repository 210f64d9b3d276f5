"""Check that an image can be prepared: geometry from its header, content from its voxels."""

import numpy as np
from scipy.ndimage import binary_fill_holes

from metavoxel.images.files import Header, read_header, read_image
from metavoxel.images.image import Image

LARGEST_ANISOTROPY = 6.0
EXTENT = (90.0, 700.0)
"""Range of the field of view of a head in mm."""
_LEAST_SLICES = 3
_FEWEST_VALUES = 50
"""Number of different intensities up to which whole numbers are labels."""
_STRIPPED = (600.0, 2600.0)
"""Volume in ml of an image without a skull."""
_EMPTY = 0.4
_AIR = -500.0
"""Intensity below which an image has Hounsfield units: in magnitude images of MR there are no such numbers."""


def read_head(path: str) -> Image:
    """Read an image, along canonical axes, and check that it may be a head.

    Raises:
        ValueError: all reasons why it cannot be prepared.
    """
    if problems := geometry_problems(read_header(path)):
        raise ValueError(f"{path}: {'; '.join(problems)}")
    image = read_image(path, nan=0.0)
    if reason := _wrong_content(image):
        raise ValueError(f"{path}: {reason}")
    return image


def geometry_problems(header: Header) -> list[str]:
    """List what in the geometry of an image keeps it from being a head."""
    grid, problems = header.grid, []
    if len(grid.shape) != 3 or min(grid.shape) < _LEAST_SLICES:
        return [f"{grid} has fewer than {_LEAST_SLICES} slices: a head needs a volume"]
    if not header.oriented:
        problems.append("no usable orientation (sform and qform codes are 0): set one that is known to be right")
    if max(grid.spacing) / min(grid.spacing) > LARGEST_ANISOTROPY:
        problems.append(
            f"voxels of {' x '.join(f'{step:.3g}' for step in grid.spacing)} mm: an anisotropy above "
            f"{LARGEST_ANISOTROPY:g} (a localiser, or thick slices) cannot be registered; use a 3-D scan"
        )
    extent = [size * step for size, step in zip(grid.shape, grid.spacing, strict=True)]
    low, high = EXTENT
    if min(extent) < low or max(extent) > high:
        problems.append(
            f"a field of view of {' x '.join(f'{size:.3g}' for size in extent)} mm, outside {low:g} to {high:g}: "
            "the head is cut, or the header has a wrong unit"
        )
    return problems


def is_stripped(image: Image) -> bool:
    """Whether a head has no skull: most voxels are exactly 0, and the others fill the volume of a brain."""
    if float((image.data == 0).mean()) < _EMPTY:
        return False
    filled = binary_fill_holes(image.data > 0)
    volume = float(filled.sum()) * abs(float(np.linalg.det(image.grid.affine[:3, :3]))) / 1000
    return _STRIPPED[0] <= volume <= _STRIPPED[1]


def _wrong_content(image: Image) -> str:
    if float(image.data.min()) < _AIR:
        return f"intensities down to {image.data.min():g}: looks like CT (Hounsfield units); the pipeline is for MR"
    sample = image.data.ravel()[:: max(1, image.data.size // 200_000)]
    values = np.unique(sample)
    if len(values) <= _FEWEST_VALUES and np.array_equal(values, np.rint(values)):
        return f"{len(values)} different intensities, all whole numbers: looks like a label map or a mask, not a scan"
    return ""
