"""NRRD and MetaImage through the optional SimpleITK, whose positions in LPS are converted to RAS."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import final

import numpy as np
from jaxtyping import Float32

from metavoxel.images.contents import ImageFileError, check_stream
from metavoxel.images.grid import Grid
from metavoxel.images.stored import AbstractStored, place, spatial_shape

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER_BYTES = 1 << 16
_LAST_FIELD = "elementdatafile"
"""Last header field of a MetaImage file; a NRRD header ends with an empty line."""
_MM_OF_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001, "micron": 0.001, "microns": 0.001}
_ORIENTED = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior", "ras", "las", "lps")


def simpleitk() -> ModuleType:
    """Import SimpleITK, with its warnings disabled.

    Raises:
        ImageFileError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise ImageFileError('needs SimpleITK: pip install "metavoxel[formats]"') from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def failure(error: RuntimeError) -> ImageFileError:
    """Convert an error of SimpleITK, whose last line is the cause and whose other lines are the location."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ImageFileError(
        f"truncated, damaged, or of a type that SimpleITK does not support: {lines[-1] if lines else ''}"
    )


@final
@dataclass(frozen=True)
class ItkImage(AbstractStored):
    """A NRRD or MetaImage file whose header has been read."""

    path: Path
    placed: Grid
    known: bool
    packed: "_Packed | None"

    @property
    def grid(self) -> Grid:
        return self.placed

    @property
    def oriented(self) -> bool:
        return self.known

    def voxels(self) -> Float32[np.ndarray, "*s"]:
        if self.packed is not None:
            check_stream(self.packed.file, self.packed.start, self.packed.size)
        itk = simpleitk()
        try:
            image = itk.ReadImage(str(self.path))
        except RuntimeError as error:
            raise failure(error) from error
        array = np.asarray(itk.GetArrayViewFromImage(image), np.float32)
        return np.ascontiguousarray(array.reshape(self.placed.shape[::-1]).T)


@final
@dataclass(frozen=True)
class _Packed:
    """A compressed stream of ``size`` bytes of voxels from byte ``start``; SimpleITK does not verify its checksum."""

    file: Path
    start: int
    size: int


@final
@dataclass(frozen=True)
class _Head:
    """Text header: its fields by lower-case name, and its length in bytes."""

    fields: dict[str, str]
    length: int

    @property
    def unit(self) -> float:
        """Unit of positions, in mm."""
        units = {word for word in re.findall(r'"([^"]*)"', self.fields.get("space units", "")) if word}
        if len(units) > 1 or not units <= set(_MM_OF_UNIT):
            raise ImageFileError(
                f"its space units are {', '.join(sorted(units))}; supported are {', '.join(_MM_OF_UNIT)}"
            )
        return _MM_OF_UNIT[units.pop()] if units else 1.0

    @property
    def oriented(self) -> bool:
        turned = any(name in self.fields for name in ("transformmatrix", "orientation", "rotation"))
        return turned or self.fields.get("space", "").lower() in _ORIENTED

    def packed(self, path: Path, size: int) -> _Packed | None:
        """Locate the compressed voxels; None if they are uncompressed or in several files."""
        encoding = self.fields.get("encoding", "").lower()
        if encoding not in ("gzip", "gz") and self.fields.get("compresseddata", "").lower() != "true":
            return None
        name = self.fields.get(_LAST_FIELD) or self.fields.get("data file") or self.fields.get("datafile") or "LOCAL"
        if name.upper() == "LOCAL":
            return _Packed(path, self.length, size)
        file = path.parent / name
        return _Packed(file, 0, size) if file.is_file() else None


def open_itk(path: Path) -> AbstractStored:
    """Open a ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` file.

    The orientation is known if NRRD names an anatomical space, or MetaImage has a matrix.

    Raises:
        ImageFileError: SimpleITK is missing or cannot read the header, or the header claims more than its file holds.
    """
    itk = simpleitk()
    head = _head(path)
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise failure(error) from error
    if reader.GetNumberOfComponents() != 1 or "complex" in itk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise ImageFileError("voxels must be real numbers, these are colours, vectors or complex")
    sizes = tuple(int(size) for size in reader.GetSize())
    shape = spatial_shape(sizes)
    bytes_claimed = math.prod(shape) * _bytes(itk.GetPixelIDValueAsString(reader.GetPixelID()))
    packed = head.packed(path, bytes_claimed)
    detached = any(name in head.fields for name in ("data file", "datafile")) or (
        head.fields.get(_LAST_FIELD, "LOCAL").upper() != "LOCAL"
    )
    limit = path.stat().st_size * (1032 if packed else 1)
    text = head.fields.get("encoding", "").lower() in ("ascii", "text", "txt", "hex", "bzip2", "bz2")
    if not detached and not text and bytes_claimed > limit:
        raise ImageFileError(f"truncated: its header claims {bytes_claimed} bytes of voxels, more than it holds")
    axes = min(3, len(sizes))
    directions = np.array(reader.GetDirection()).reshape(len(sizes), len(sizes))[:axes, :axes]
    affine = np.zeros((4, 4))
    affine[:axes, :axes] = directions * np.array(reader.GetSpacing()[:axes])
    affine[:axes, 3] = reader.GetOrigin()[:axes]
    affine[:3] *= head.unit
    affine[3, 3] = 1
    return ItkImage(path, place(shape, LPS_TO_RAS @ affine), head.oriented, packed)


def _bytes(kind: str) -> int:
    bits = re.search(r"(\d+)-bit|float|double", kind)
    if bits is None:
        raise ImageFileError(f"voxels must be real numbers, these are {kind}")
    return int(bits[1]) // 8 if bits[1] else 8 if bits[0] == "double" else 4


def _head(path: Path) -> _Head:
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    length = 0
    for line in start.splitlines(keepends=True):
        length += len(line)
        text = line.decode("utf-8", "replace").strip()
        if not text:
            break
        match = re.match(r"([\w ]+?)\s*(?::=?|=)\s*(.*)", text)
        if match and not text.startswith("#"):
            fields[match[1].lower()] = match[2].strip()
        if match and match[1].lower() == _LAST_FIELD:
            break
    return _Head(fields, length)
