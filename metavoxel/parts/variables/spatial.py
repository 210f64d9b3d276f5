"""Base of variables whose values are voxel grids read from files: location of files and placement of voxels."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal, Self

import nibabel
import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from torch import Tensor

from metavoxel.errors import CohortError, Problem
from metavoxel.images.files import as_nifti, is_picture, read_grid, read_header, read_image
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.parts.variables.base import Recorded
from metavoxel.parts.variables.cohort_grid import (
    NOT_ORIENTED,
    cohort_grid,
    misfits,
    position_warnings,
    unoriented,
    usual_place,
)
from metavoxel.parts.variables.column import Column
from metavoxel.parts.variables.headers import read_headers
from metavoxel.parts.variables.located import AbstractFileSpec
from metavoxel.parts.variables.placement import AbstractPlacement, OneGrid, OwnBoxes, Place
from metavoxel.parts.variables.summaries import AbstractSummary, summary_of_grids


class AbstractSpatialSpec(AbstractFileSpec):
    """Settings shared by variables read from image files: files, grid and spatial augmentation.

    A value has a channel axis followed by the axes of the model's grid. ``resolve`` fills in shape, affine and file
    type from the cohort.
    """

    spatial: ClassVar[bool] = True

    spacing: PositiveFloat | None = Field(
        None,
        description="resample to this isotropic spacing in mm; by default files keep their spacing, and must agree",
    )
    place: Place | None = Field(
        None,
        description="'world': one grid in mm for the cohort, by the files' affines; 'box': images are aligned by the "
        "centres of their boxes, ignoring affines. By default 'world'; 'box' for PNG and JPEG, which have no affine",
    )
    template: str | None = Field(
        None,
        description="file whose field of view in mm all images are cropped or padded to, relative to the folder of the "
        "schema; by default the smallest that covers all images",
    )
    nan: float | Literal["minimum"] | None = Field(
        None, description="replacement of NaN voxels: a number, or 'minimum' for the lowest intensity of the image"
    )
    shape: tuple[PositiveInt, ...] | None = Field(
        None,
        description="voxels along each axis after padding; by default the smallest that fits all images and the model",
    )
    affine: list[list[float]] | None = Field(
        None,
        description="voxel-to-world affine of the model's grid; by default the cohort's, or the first image's in 'box'",
    )
    shifts: int = Field(
        1, ge=0, description="augmentation: shift training rows by up to this many voxels along each axis"
    )
    flip: bool = Field(False, description="augmentation: mirror training rows left to right (the first axis)")
    extension: Literal[".nii.gz", ".png"] | None = Field(
        None, description="type of the files written; by default that of the files read"
    )

    @field_validator("template")
    @classmethod
    def _from_schema(cls, template: str | None, info: ValidationInfo) -> str | None:
        folder = (info.context or {}).get("folder")
        return template if template is None or folder is None else str(Path(folder) / template)

    @model_validator(mode="after")
    def _valid_grid(self) -> Self:
        if isinstance(self.nan, float) and not math.isfinite(self.nan):
            raise ValueError("nan: must be a finite number or 'minimum'")
        if self.template is not None and self.place == "box":
            raise ValueError("a template is a grid in mm, which 'place: box' ignores: leave one out")
        if self.shape is not None and len(self.shape) not in (2, 3):
            raise ValueError(f"shape has 2 or 3 axes, not {len(self.shape)}")
        if self.affine is not None and [len(row) for row in self.affine] != [4] * 4:
            raise ValueError("affine has 4 rows of 4 numbers")
        return self

    @property
    @abstractmethod
    def data_shape(self) -> tuple[int, ...]:
        """Number of channels, and voxels along each axis of the model's grid."""

    @abstractmethod
    def parse(self, cell: str) -> Float[Tensor, "c *s"]:
        """Read a file as a value on the model's grid."""

    def parse_mask(self, cell: str, *, image: str | None = None) -> Bool[Tensor, "c *s"]:
        """Read a mask file on the model's grid: True above 0.5, False where the file does not cover the grid.

        Raises:
            ValueError: the image cannot be read, does not fit the grid, or lies on other voxels than ``image`` where
                affines do not place both.
        """
        mask = read_image(cell, constant=True)
        self._check_fit(cell, mask.grid)
        placed, _ = self._placement().placed(mask, 0.0)
        if image is not None and self.place != "world":
            same_place = np.allclose(self.grid(cell).affine, self.grid(image).affine, atol=0.05)
            if not same_place or not torch.equal(self.inside(cell), self.inside(image)):
                raise ValueError(
                    f"{cell}: is {read_grid(cell)}, and lies on other voxels than {image}, which is "
                    f"{read_grid(image)}; draw the mask on the image itself"
                )
        return torch.from_numpy(placed.data > 0.5)[None].expand(self.data_shape).clone()

    def grid(self, cell: str) -> Grid:
        """Return the grid of a file's image after ``parse``: the model's, or its own, padded, with ``place: box``.

        Raises:
            ValueError: the header cannot be read, or does not fit.
        """
        return self._placement().grid(self._fitting(cell))

    def inside(self, cell: str) -> Bool[Tensor, "c *s"]:
        """Return a mask of the voxels that the file covers, False on padding.

        Raises:
            ValueError: the header cannot be read, or does not fit.
        """
        return torch.from_numpy(self._placement().inside(self._fitting(cell)))[None].expand(self.data_shape).clone()

    def resolve(self, cells: Sequence[str], *, multiple: int) -> Self:
        """Fill in place, shape (rounded up to ``multiple``), affine and extension from the files' headers.

        Values that are set are kept, so that a trained model keeps its shape for new images.

        Raises:
            CohortError: files cannot be read or are inconsistent; one problem per file, ``where`` its cell.
        """
        if self.shape is not None and any(size % multiple for size in self.shape):
            raise CohortError(
                f"shape {list(self.shape)} must be multiples of {multiple}, which the codec and the backbone need"
            )
        if not cells:
            if self.shape is None:
                raise CohortError("no row has an image, so there is no grid to model")
            return self
        headers, problems = read_headers(cells)
        place = self.place or usual_place(headers)
        grids = {cell: header.grid for cell, header in headers.items()}
        if self.shape is None or self.affine is None:
            problems += misfits(headers, self.spacing, place)
            if problems:
                raise CohortError(problems)
            grid = cohort_grid(self._template_grid() or grids, self.spacing, place, self.shape, multiple)
        else:
            grid = self._model_grid()
            problems += unoriented(headers, place)
        picture = len(grid.shape) == 2 and is_picture(cells[0])
        known = {"place": place, "shape": grid.shape, "affine": self.affine or grid.affine.tolist()}
        resolved = self.model_copy(update=known | {"extension": self.extension or (".png" if picture else ".nii.gz")})
        placement = resolved._placement()
        if self.template is None:
            misfit = cache(placement.misfit)  # files with equal headers share one grid
            problems += [Problem(cell, reason) for cell, own in grids.items() if (reason := misfit(own))]
        if problems:
            raise CohortError(problems)
        return resolved

    def world_grid(self, cells: Sequence[str]) -> Grid | None:
        if self.place == "box" or self.shape or self.affine or self.template:
            return None
        try:
            resolved = self.resolve(cells, multiple=1)
        except CohortError:
            return None
        return resolved._model_grid() if resolved.place == "world" else None

    def with_grid(self, grid: Grid) -> Self:
        return self.model_copy(update={"shape": grid.shape, "affine": grid.affine.tolist()})

    def with_smallest_grid(self, multiple: int, *, axes: int) -> Self:
        """Return settings of unknown shape with the smallest one."""
        return self if self.shape is not None else self.model_copy(update={"shape": (multiple,) * axes})

    def file_warnings(self, column: Column, others: Mapping[str, Recorded]) -> Iterator[str]:
        """Yield warnings about files without orientation, and positions that cropping does not explain."""
        yield from position_warnings(column.known_cells, self.place)

    def summary(self, column: Column) -> AbstractSummary:
        cells = column.known_cells
        return summary_of_grids(cells, self.data_shape[1:], self.grid(cells[0]).spacing, resampled=self.spacing)

    def to_nifti(self, value: Float[Tensor, "c *s"]) -> nibabel.Nifti1Image:
        """Return a value on the model's grid as an image in memory; by default its first channel, single precision."""
        return as_nifti(self._volume(value), np.dtype(np.float32))

    def _volume(self, value: Float[Tensor, "c *s"]) -> Image:
        return Image(value.detach().to("cpu", torch.float32)[0].numpy(), self._model_grid())

    def _read(self, cell: str, *, constant: bool) -> Image:
        """Read an image on its own grid; ``constant`` allows a single intensity.

        Raises:
            ValueError: the image cannot be read, or lacks the orientation that world coordinates require.
        """
        image = read_image(cell, constant=constant, nan=self.nan)
        if self.place == "world" and not read_header(cell).oriented:
            raise ValueError(f"{cell}: {NOT_ORIENTED}")
        return image

    def _target(self, folder: Path, stem: str, like: str | None, *, pictures: bool = True) -> tuple[Path, Grid, bool]:
        """Return the file that a value is written to, its grid, and whether the file is a PNG.

        ``pictures`` is False for values that grey levels cannot represent, which are never written as PNG.
        """
        grid = self._model_grid() if like is None else self.grid(like)
        as_picture = self.extension == ".png" if like is None else len(grid.shape) == 2 and is_picture(like)
        as_picture = as_picture and pictures
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{stem}{'.png' if as_picture else '.nii.gz'}", grid, as_picture

    def _resolved_shape(self) -> tuple[int, ...]:
        if self.shape is None:
            raise ValueError("the shape of this image is not known before resolve() is called with the cohort's files")
        return self.shape

    def _model_grid(self) -> Grid:
        if self.affine is None:
            raise ValueError("the affine of this image is not known before resolve() is called with the cohort's files")
        return Grid(self._resolved_shape(), np.asarray(self.affine, np.float64))

    def _placement(self) -> AbstractPlacement:
        if self.place == "box":
            return OwnBoxes(self._model_grid(), self.spacing)
        return OneGrid(self._model_grid(), crop=self.template is not None)

    def _fitting(self, cell: str) -> Grid:
        grid = read_grid(cell)
        self._check_fit(cell, grid)
        return grid

    def _check_fit(self, cell: str, grid: Grid) -> None:
        if reason := self._placement().misfit(grid):
            raise ValueError(f"{cell}: {reason}")

    def _template_grid(self) -> dict[str, Grid] | None:
        if self.template is None:
            return None
        try:
            return {self.template: read_grid(self.template)}
        except ValueError as error:
            raise CohortError(Problem("template", str(error))) from error
