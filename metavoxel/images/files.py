"""Image files: NIfTI (.nii, .nii.gz), PNG and JPEG. Nothing is unpickled."""

import math
import zlib
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import PIL.Image
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from PIL.ImageOps import exif_transpose

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image

NIFTI = (".nii", ".nii.gz")
PICTURES = (".png", ".jpg", ".jpeg")

_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    zlib.error,
    SyntaxError,  # Pillow's word for a broken PNG chunk
    ImageFileError,
    HeaderDataError,
    ImageDataError,
    PIL.Image.DecompressionBombError,
)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_TURNED = (5, 6, 7, 8)
"""Values of EXIF's orientation under which the stored width is the picture's height."""


def is_nifti(path: str | Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return str(path).lower().endswith(NIFTI)


def has_affine(path: str | Path) -> bool:
    """Whether files of this name have a place in mm; PNG and JPEG have none."""
    return not str(path).lower().endswith(PICTURES)


def read_grid(path: str | Path) -> Grid:
    """The canonical (RAS+) grid of an image, from its header alone.

    Raises:
        ValueError: no such file, not an image of a known type, a broken header, or not two or three axes.
    """
    path = _existing(path)
    if is_nifti(path):
        return _nifti_grid(path, _open_nifti(path)).canonical()
    try:
        with PIL.Image.open(path) as picture:
            turned = picture.getexif().get(0x0112) in _TURNED
            return _picture_grid(picture.size[::-1] if turned else picture.size)
    except _UNREADABLE as error:
        raise _broken(path, error) from error


def read_image(path: str | Path, *, constant: bool = False, nan: float | Literal["minimum"] | None = None) -> Image:
    """An image along canonical (RAS+) axes, in the file's own intensities.

    A trailing axis of one voxel is dropped, so that a NIfTI of one slice has two axes. The axes of a PNG or JPEG file
    are (x, y) with x to the right and y up, as a NIfTI slice has them; colours become luminance (ITU-R BT.601).

    Raises:
        ValueError: no such file, not an image of a known type, truncated, not two or three axes, intensities that are
            not finite, or all the same (unless ``constant`` allows that, as for masks).
    """
    path = _existing(path)
    image = _read_nifti(path) if is_nifti(path) else _read_picture(path)
    finite = np.isfinite(image.data)
    if not finite.all():
        raise ValueError(f"{path}: {finite.size - finite.sum()} of {finite.size} voxels are NaN or infinite")
    if not constant and image.data.min() == image.data.max():
        raise ValueError(f"{path}: the image is constant: every voxel is {image.data.min():g}")
    return image


def write_nifti(path: Path, image: Image) -> None:
    """Save as single-precision NIfTI; an image of two axes gets a third of one voxel, as viewers expect."""
    data = image.data if image.data.ndim == 3 else image.data[..., None]
    file = nibabel.Nifti1Image(np.asarray(data, np.float32), image.grid.affine)
    file.set_sform(image.grid.affine, code="aligned")
    file.set_qform(image.grid.affine, code="aligned")
    file.header.set_xyzt_units("mm")
    nibabel.save(file, path)


def write_png(path: Path, image: Image) -> None:
    """Save an image of two axes and intensities in [0, 1] as 8-bit greys; what lies beyond is clipped."""
    if image.data.ndim != 2:
        raise ValueError(f"a PNG file holds 2 axes, not {image.data.ndim}")
    greys = np.rint(np.clip(image.data, 0, 1) * 255).astype(np.uint8)
    PIL.Image.fromarray(np.ascontiguousarray(greys.T[::-1])).save(path, format="PNG")


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not str(path).lower().endswith((*NIFTI, *PICTURES)):
        raise ValueError(f"{path}: not an image file by its name; expected one of {', '.join((*NIFTI, *PICTURES))}")
    if not path.is_file():
        folder = path.parent
        reason = "" if folder.is_dir() else f" (nor a folder {folder})"
        raise ValueError(f"{path}: no such file{reason}")
    return path


def _broken(path: Path, error: BaseException) -> ValueError:
    kind = "NIfTI" if is_nifti(path) else "PNG or JPEG"
    reason = " ".join(str(error).replace(str(path), "the file").split()) or type(error).__name__
    return ValueError(f"{path}: truncated, or not a {kind} file: {reason}")


def _open_nifti(path: Path) -> nibabel.Nifti1Image:
    try:
        file = nibabel.load(path)
    except _UNREADABLE as error:
        raise _broken(path, error) from error
    if not isinstance(file, nibabel.Nifti1Image):
        raise ValueError(f"{path}: not a NIfTI file, but {type(file).__name__}")
    return file


def _nifti_grid(path: Path, file: nibabel.Nifti1Image) -> Grid:
    """The grid as stored, trailing axes of one voxel dropped."""
    stored = tuple(int(size) for size in file.shape)
    shape = stored
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or min(shape) < 1 or max(shape) == 1:
        raise ValueError(f"{path}: an image has 2 or 3 axes, this one has the shape {stored}")
    kind = file.get_data_dtype()
    if kind.kind not in "iuf":
        raise ValueError(f"{path}: voxels must be real numbers, these are {kind}")
    # A compressed file does not tell how much it holds before it is read.
    if path.suffix.lower() == ".nii" and path.stat().st_size < kind.itemsize * math.prod(stored):
        raise ValueError(f"{path}: truncated: {path.stat().st_size} bytes cannot hold {stored} voxels of {kind}")
    affine = np.asarray(file.affine, np.float64).copy()
    if len(shape) == 2 and not affine[:3, 2].any():
        affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise ValueError(f"{path}: its affine is singular or not finite, so its voxels have no place in space")
    return Grid(shape, affine)


def _read_nifti(path: Path) -> Image:
    file = _open_nifti(path)
    grid = _nifti_grid(path, file)
    try:
        data = file.get_fdata(dtype=np.float32, caching="unchanged")
    except _UNREADABLE as error:
        raise _broken(path, error) from error
    return Image(data.reshape(grid.shape), grid).canonical()


def _picture_grid(size: tuple[int, int]) -> Grid:
    return Grid((int(size[0]), int(size[1])), np.eye(4))


def _read_picture(path: Path) -> Image:
    try:
        with PIL.Image.open(path) as opened:
            picture = exif_transpose(opened)
            if picture.mode in ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
                data = np.asarray(picture.convert("RGB"), np.float32) @ _LUMA
            elif picture.mode in ("LA", "La", "1"):
                data = np.asarray(picture.convert("L"), np.float32)
            else:
                data = np.asarray(picture, np.float32)
    except _UNREADABLE as error:
        raise _broken(path, error) from error
    return Image(np.ascontiguousarray(data[::-1].T), _picture_grid(picture.size))
