"""Images as stored in files: a grid from the header, and voxels read on demand."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, Float64

from metavoxel.images.contents import ImageFileError, check_capacity, read_content
from metavoxel.images.grid import Grid

MAX_VOXELS = 2**31
"""Maximum number of voxels of an image: 8 GiB in single precision."""


class AbstractStored(ABC):
    """An image file whose header has been read and checked."""

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """Grid in mm, along the axes of the file."""

    @property
    @abstractmethod
    def oriented(self) -> bool:
        """Whether the file states its orientation in the body."""

    @abstractmethod
    def voxels(self) -> Float32[np.ndarray, "*s"]:
        """Read the intensities along the axes of the file.

        Raises:
            ImageFileError: the file is truncated or damaged.
        """


@final
@dataclass(frozen=True)
class RawVoxels(AbstractStored):
    """Contiguous voxels in a file, the first axis fastest, as in NIfTI, Analyze and MGH.

    ``start`` bytes precede them, and up to ``further`` bytes may follow. An intensity is ``slope`` times the
    stored number plus ``inter``.
    """

    file: Path
    placed: Grid
    known: bool
    kind: np.dtype
    start: int
    slope: float = 1.0
    inter: float = 0.0
    further: int = 0

    def __post_init__(self) -> None:
        check_capacity(self.file, self._size)

    @property
    def grid(self) -> Grid:
        return self.placed

    @property
    def oriented(self) -> bool:
        return self.known

    def voxels(self) -> Float32[np.ndarray, "*s"]:
        content = read_content(self.file, self._size, further=self.further)
        shape = self.placed.shape
        stored = np.frombuffer(content, self.kind, math.prod(shape), self.start).reshape(shape, order="F")
        with np.errstate(over="ignore", invalid="ignore"):
            if (self.slope, self.inter) == (1.0, 0.0):
                return stored.astype(np.float32)
            scaled = stored.astype(np.float64)
            scaled *= self.slope
            scaled += self.inter
            return scaled.astype(np.float32)

    @property
    def _size(self) -> int:
        return self.start + self.kind.itemsize * math.prod(self.placed.shape)


def spatial_shape(sizes: Sequence[int]) -> tuple[int, int, int]:
    """Return the sizes of the three axes of an image; further axes of one voxel or unset size are dropped.

    Raises:
        ImageFileError: other than three axes, or two and one of a single voxel.
    """
    sizes = tuple(int(size) for size in sizes)
    shape = sizes + (1,) * (3 - len(sizes))
    further = shape[3:]
    if any(size not in (0, 1) for size in further) or min(shape[:3]) < 1 or sum(size > 1 for size in shape[:3]) < 2:
        raise ImageFileError(f"an image has 2 or 3 axes, this one has the shape {sizes}")
    if math.prod(shape[:3]) > MAX_VOXELS:
        raise ImageFileError(f"its header claims {sizes} voxels, more than the maximum of {MAX_VOXELS}")
    return shape[0], shape[1], shape[2]


def place(shape: tuple[int, int, int], affine: Float64[np.ndarray, "4 4"]) -> Grid:
    """Build the grid of an affine in mm; a single-voxel axis without size gets the remaining direction.

    Raises:
        ImageFileError: the affine is singular or not finite.
    """
    affine = np.array(affine, np.float64)
    for axis, size in enumerate(shape):
        if size == 1 and not affine[:3, axis].any():
            affine[:3, axis] = np.cross(affine[:3, (axis + 1) % 3], affine[:3, (axis + 2) % 3])
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise ImageFileError("its affine is singular or not finite, so voxel positions are undefined")
    return Grid(shape, affine)


def check_real(kind: np.dtype) -> None:
    """Refuse colours and complex numbers.

    Raises:
        ImageFileError: voxels of this type are not real numbers.
    """
    if kind.kind not in "iuf":
        raise ImageFileError(f"voxels must be real numbers, these are {kind}")
