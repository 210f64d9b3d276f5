"""Read images of all supported formats in canonical axes and mm, write NIfTI and PNG. Nothing is unpickled."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import nibabel
import numpy as np
import PIL.Image
from jaxtyping import Float32
from nibabel.spatialimages import HeaderDataError, ImageDataError

from metavoxel.images.contents import ImageFileError
from metavoxel.images.dicom import open_dicom
from metavoxel.images.fetched import absence
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.images.itk import open_itk
from metavoxel.images.mgh import open_mgh
from metavoxel.images.nifti import open_nifti
from metavoxel.images.pictures import open_picture
from metavoxel.images.stored import AbstractStored

NIFTI = (".nii", ".nii.gz")
PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")
FREESURFER = (".mgz", ".mgh")
PICTURES = (".png", ".jpg", ".jpeg")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
DICOM = (".dcm",)
FORMATS = (*NIFTI, *PICTURES, *FREESURFER, *PAIRS, *ITK, *DICOM)
"""Supported file extensions; a folder is one DICOM series."""

_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    MemoryError,
    SyntaxError,  # raised by Pillow for a broken PNG chunk
    HeaderDataError,
    ImageDataError,
    PIL.Image.DecompressionBombError,
)


class Header(NamedTuple):
    """Geometry of an image, as its header states it.

    ``grid`` is canonical (RAS+). ``oriented`` is False if the file does not state its orientation in the body:
    pictures, Analyze files, NIfTI files with neither sform nor qform.
    """

    grid: Grid
    oriented: bool


def is_nifti(path: str | Path) -> bool:
    """Whether a file name has a NIfTI extension."""
    return str(path).lower().endswith(NIFTI)


def is_picture(path: str | Path) -> bool:
    """Whether a file name has a PNG or JPEG extension; such pixels have no size in mm."""
    return str(path).lower().endswith(PICTURES)


def read_grid(path: str | Path) -> Grid:
    """Read the canonical (RAS+) grid of an image in mm, as ``read_image`` returns it, from the header alone.

    Raises:
        ValueError: no such file, not an image of a known type, a broken header, not two or three axes, or more voxels
            than the file can hold.
    """
    return read_header(path).grid


def read_header(path: str | Path) -> Header:
    """Read the canonical (RAS+) grid of an image in mm, and whether its orientation is known, from the header alone.

    Raises:
        ValueError: as ``read_grid``.
    """
    path = _existing(path)
    with _located_errors(path):
        stored = _open(path)
    return Header(_without_single(stored.grid.canonical())[0], stored.oriented)


def read_image(path: str | Path, *, constant: bool = False, nan: float | Literal["minimum"] | None = None) -> Image:
    """Read an image along canonical (RAS+) axes in mm, in the file's own intensities.

    An image with one axis of a single voxel is a slice with the other two axes in canonical order: (x, y), (x, z) or
    (y, z); its normal is the third column of the affine. The axes of a PNG or JPEG file are (x, y) with x to the right
    and y up; colours become luminance (ITU-R BT.601), blended with black by their transparency.

    Args:
        path: the file.
        constant: allow images of a single intensity, such as masks.
        nan: replacement of NaN voxels: an intensity, or 'minimum', the smallest one of the image.

    Raises:
        ValueError: no such file, not an image of a known type, truncated or damaged, not two or three axes, or
            intensities that are not finite or all equal.
    """
    path = _existing(path)
    with _located_errors(path):
        stored = _open(path)
        data = stored.voxels()
    data = _finite(path, data, nan)
    if not constant and data.min() == data.max():
        advice = "if that is valid, as for an empty mask, set 'intensities: [low, high]' in the schema"
        raise ValueError(f"{path}: the image is constant: every voxel is {data.min():g}; {advice}")
    image = Image(data, stored.grid).canonical()
    grid, shape = _without_single(image.grid)
    return Image(image.data.reshape(shape), grid)


def write_nifti(path: Path, image: Image) -> None:
    """Save as single-precision NIfTI in mm; a 2-D image gets a third axis of one voxel, as viewers expect."""
    _save_nifti(path, image, np.dtype(np.float32))


def write_labels(path: Path, image: Image, labels: Sequence[int]) -> None:
    """Save integers, all among ``labels``, as NIfTI in mm, with 8 bits or, if necessary, 16 or 32.

    The data type depends on ``labels`` alone, so that all files of a variable have the same type.
    """
    types = (np.iinfo(np.uint8), np.iinfo(np.int16), np.iinfo(np.int32))
    sufficient = (kind.dtype for kind in types if kind.min <= min(labels) and max(labels) <= kind.max)
    _save_nifti(path, image, next(sufficient))


def _save_nifti(path: Path, image: Image, kind: np.dtype[Any]) -> None:
    nibabel.save(as_nifti(image, kind), path)


def as_nifti(image: Image, kind: np.dtype[Any]) -> nibabel.Nifti1Image:
    """The image in memory as NIfTI in mm, of this data type; integers are rounded."""
    data = image.data if image.data.ndim == 3 else image.data[..., None]
    file = nibabel.Nifti1Image(np.asarray(np.rint(data) if kind.kind in "iu" else data, kind), image.grid.affine)
    file.set_sform(image.grid.affine, code="aligned")
    file.set_qform(image.grid.affine, code="aligned")
    file.header.set_xyzt_units("mm")
    return file


def write_png(path: Path, image: Image) -> None:
    """Save a 2-D image with intensities in [0, 1] in 8-bit greyscale; values outside are clipped."""
    if image.data.ndim != 2:
        raise ValueError(f"a PNG file holds 2 axes, not {image.data.ndim}")
    greys = np.rint(np.clip(image.data, 0, 1) * 255).astype(np.uint8)
    PIL.Image.fromarray(np.ascontiguousarray(greys.T[::-1])).save(path, format="PNG")


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if os.path.isdir(path):  # False for a name too long for the system, where Path.is_dir raises
        return path
    if not path.name.lower().endswith(FORMATS):
        raise ValueError(
            f"{path}: not an image file by its name; expected one of {', '.join(FORMATS)}, or the folder of a DICOM "
            "series"
        )
    reason = absence(path)
    if reason:
        raise ValueError(f"{path}: {reason}{_syntax_hint(path)}")
    return path


def _syntax_hint(path: Path) -> str:
    """Explain the likely mistake in the syntax of a path that names no file."""
    for part in path.parts:
        if part.startswith("bids:"):
            return " (BIDS URIs are not resolved: write the path itself)"
        if part == "~":
            return " (~ is not expanded: write the folder itself)"
        if "\\" in part and "/" in str(path):
            return " (\\ is part of a name here: write / between folders)"
    return ""


def _open(path: Path) -> AbstractStored:
    name = path.name.lower()
    if path.is_dir() or name.endswith(DICOM):
        return open_dicom(path)
    if name.endswith(PICTURES):
        return open_picture(path)
    if name.endswith(ITK):
        return open_itk(path)
    return open_mgh(path) if name.endswith(FREESURFER) else open_nifti(path)


@contextmanager
def _located_errors(path: Path) -> Iterator[None]:
    """Convert errors that libraries raise on broken files to a ValueError with the path."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # broken headers contain arbitrary numbers
            yield
    except ImageFileError as error:
        raise ValueError(f"{path}: {error}") from error
    except _UNREADABLE as error:
        reason = " ".join(str(error).replace(str(path), "the file").split()) or type(error).__name__
        raise ValueError(f"{path}: truncated, or not a {_kind(path)} file: {reason}") from error


def _kind(path: Path) -> str:
    name = path.name.lower()
    if path.is_dir() or name.endswith(DICOM):
        return "DICOM"
    if name.endswith(ITK):
        return "NRRD or MetaImage"
    return "PNG or JPEG" if name.endswith(PICTURES) else "MGH" if name.endswith(FREESURFER) else "NIfTI"


def _finite(
    path: Path, data: Float32[np.ndarray, "*s"], nan: float | Literal["minimum"] | None
) -> Float32[np.ndarray, "*s"]:
    if np.isfinite(data).all():
        return data
    nans, infinite = np.isnan(data), np.isinf(data)
    count, size = int(nans.sum() + infinite.sum()), data.size
    if infinite.any():
        raise ValueError(
            f"{path}: {count} of {size} voxels are NaN or infinite ({infinite.sum()} infinite, or beyond single "
            "precision): repair the file"
        )
    if nans.all():
        raise ValueError(f"{path}: all {size} voxels are NaN")
    if nan is None:
        raise ValueError(
            f"{path}: {count} of {size} voxels are NaN or infinite ({count} NaN): where they are background, set "
            "'nan: 0' or 'nan: minimum' in the schema"
        )
    return np.where(nans, np.float32(np.nanmin(data) if nan == "minimum" else nan), data)


def _without_single(grid: Grid) -> tuple[Grid, tuple[int, ...]]:
    """Drop the single-voxel axis of a canonical grid; it becomes the normal, the third column of the affine."""
    if len(grid.shape) != 3 or grid.shape.count(1) != 1:
        return grid, grid.shape
    single = grid.shape.index(1)
    kept = [axis for axis in range(3) if axis != single]
    shape = tuple(grid.shape[axis] for axis in kept)
    return Grid(shape, grid.affine[:, [*kept, single, 3]]), shape
