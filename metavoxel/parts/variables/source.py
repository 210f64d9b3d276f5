"""Sources of the values of a variable: files, grids of voxels and BIDS entities; defaults for cells of a table."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import nibabel
import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from metavoxel.images.grid import Grid


class AbstractSource(BaseModel, ABC):
    """Questions that reading and writing ask of a variable's files and grid.

    The defaults are those of a value in a table cell. Types with files derive from
    :class:`metavoxel.parts.variables.located.AbstractFileSpec`, those with voxels from
    :class:`metavoxel.parts.variables.spatial.AbstractSpatialSpec`, or override members that differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lazy: ClassVar[bool] = False
    """Whether values of a cohort are too large for memory, and are read row by row and cached on disk."""

    spatial: ClassVar[bool] = False
    """Whether a value has a channel axis and a grid of voxels, rather than being a scalar or vector."""

    voxel_labels: ClassVar[bool] = False
    """Whether a voxel has a label, rather than intensities. Measures of images do not apply to such values."""

    column_advice: ClassVar[str] = ""
    """Advice that ends an error about a column that the table lacks."""

    @property
    @abstractmethod
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one value."""

    def bids_entities(self) -> Mapping[str, str | None] | None:
        """Return the BIDS entities that select the variable's file at a visit; None (the default) for table cells."""
        return None

    def bids_problems(self) -> list[str]:
        """Return reasons why ``bids_entities`` cannot select files; empty if they can."""
        return []

    def file_columns(self, name: str) -> set[str]:
        """Return the columns of the table whose cells are paths of files; empty by default."""
        return set()

    def with_folder(self, folder: Path) -> Self:
        """Return the settings with relative paths of files starting at ``folder``; by default there are none."""
        return self

    def world_grid(self, cells: Sequence[str]) -> Grid | None:
        """Return the grid in mm that the located files alone determine, to be shared with variables of one space.

        None (the default) without such a grid, if the settings fix it, or if the files are incompatible.
        """
        return None

    def with_grid(self, grid: Grid) -> Self:
        """Return the settings with the model's grid; only called after ``world_grid`` returned one."""
        return self

    def with_smallest_grid(self, multiple: int, *, axes: int) -> Self:
        """Return the settings with a small grid, of axes divisible by ``multiple``, if the cohort has to determine it.

        A schema's modules are built with it before any file is read. By default the settings themselves.
        """
        return self

    def inside(self, cell: str) -> Bool[Tensor, "*d"]:
        """Return a mask of the voxels that the file covers, False on padding; everything by default.

        Raises:
            ValueError: the header cannot be read, or does not fit.
        """
        return torch.ones(self.data_shape, dtype=torch.bool)

    def parse_mask(self, cell: str, *, image: str | None = None) -> Bool[Tensor, "*d"]:
        """Read a file with the known voxels of a value, on the model's grid; for spatial types.

        Args:
            cell: the mask file.
            image: file of the value, if it is given as one, whose voxels the mask must lie on.

        Raises:
            ValueError: the mask cannot be read, or does not fit.
        """
        raise ValueError(f"{cell}: variables of this type have no voxels, so no mask")

    def rescaled(self, data: Float[Tensor, "*d"]) -> Float[Tensor, "*d"]:
        """Rescale numbers of a written NIfTI file to those of the model, the inverse of ``write``; by default equal."""
        return data

    def to_nifti(self, value: Float[Tensor, "*d"]) -> nibabel.Nifti1Image:
        """Return a value on the model's grid as an image in memory; required of spatial types."""
        raise NotImplementedError(f"{type(self).__name__} has no voxels")
