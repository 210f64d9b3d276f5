"""Variables whose value is a grid of voxels read from a file: where the file is, and where its voxels come to lie."""

import math
import os
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

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
from metavoxel.images.files import is_picture, read_grid, read_header, read_image
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.cohort_grid import (
    NOT_ORIENTED,
    cohort_grid,
    misfits,
    read_headers,
    unoriented,
    usual_place,
)
from metavoxel.parts.variables.entities import Entities
from metavoxel.parts.variables.placement import AbstractPlacement, OneGrid, OwnBoxes, Place

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class AbstractSpatialSpec(AbstractVariableSpec):
    """What all variables that are read from image files share: the file, the grid, and how training rows are moved.

    A value has a channel axis and then the axes of the model's grid. Shape, affine and file type are filled in from the
    cohort by ``resolve``.
    """

    lazy: ClassVar[bool] = True
    spatial: ClassVar[bool] = True

    path: str | None = Field(
        None, description="file of every row, with the table's columns in braces; relative to the table's folder"
    )
    entities: Entities = Field(
        {},
        description="BIDS entities of the file, null for one that its name must not have; by default {suffix: T1w}. "
        "Also 'run: first' or 'run: last' of a visit, 'extension', 'datatype', and 'derivative', a folder of "
        "'derivatives' instead of the raw data",
    )
    spacing: PositiveFloat | None = Field(
        None, description="resample to this isotropic spacing in mm; by default files keep their own, and must agree"
    )
    place: Place | None = Field(
        None,
        description="'world': one grid in mm for the cohort, by the files' affines; 'box': images are stacked by the "
        "centres of their boxes, whatever their affines. By default 'world'; 'box' for PNG and JPEG, which have none",
    )
    template: str | None = Field(
        None,
        description="file whose field of view in mm all images are brought to, relative to the schema's folder; what "
        "lies beyond is cut off. By default the smallest that covers all images",
    )
    nan: float | Literal["minimum"] | None = Field(
        None, description="what voxels that are NaN become: a number, or 'minimum', the image's least intensity"
    )
    optional: bool = Field(False, description="a file that 'path' or 'column' names and that is not there is a gap")
    shape: tuple[PositiveInt, ...] | None = Field(
        None,
        description="voxels along each axis after padding; by default as few as hold all images, as the model needs",
    )
    affine: list[list[float]] | None = Field(
        None,
        description="voxel indices to mm of the model's grid; by default the cohort's, or its first image's in 'box'",
    )
    shifts: int = Field(1, ge=0, description="training rows may be shifted by up to this many voxels along each axis")
    flip: bool = Field(False, description="training rows may be mirrored left to right (the first axis)")
    extension: Literal[".nii.gz", ".png"] | None = Field(
        None, description="type of the files written; by default as those read"
    )

    @field_validator("template")
    @classmethod
    def _from_schema(cls, template: str | None, info: ValidationInfo) -> str | None:
        folder = (info.context or {}).get("folder")
        return template if template is None or folder is None else str(Path(folder) / template)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [word for word in ("path", "column", "entities") if getattr(self, word)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each say where the file is: give one of them")
        if isinstance(self.nan, float) and not math.isfinite(self.nan):
            raise ValueError("nan: must be a finite number or 'minimum'")
        if self.template is not None and self.place == "box":
            raise ValueError("a template is a grid in mm, which 'place: box' takes no notice of: leave one out")
        if self.shape is not None and len(self.shape) not in (2, 3):
            raise ValueError(f"shape has 2 or 3 axes, not {len(self.shape)}")
        if self.affine is not None and [len(row) for row in self.affine] != [4] * 4:
            raise ValueError("affine has 4 rows of 4 numbers")
        return self

    @property
    @abstractmethod
    def data_shape(self) -> tuple[int, ...]:
        """Channels, and the voxels along each axis of the model's grid."""

    @abstractmethod
    def parse(self, cell: str) -> Float[Tensor, "c *s"]:
        """The value of a file, on the model's grid."""

    def locate(self, name: str, row: Mapping[str, str], folder: Path) -> str:
        """The file's path; nothing ("") when the column, or one that the pattern needs, is empty.

        A file that is ``optional`` and not there is nothing too; a link whose content is not there is no gap.

        Raises:
            KeyError: the name of a column that the table lacks.
        """
        if self.path is None:
            text = row[self.column or name]
        else:
            values = {column: row[column] for column in _PLACEHOLDER.findall(self.path)}
            filled = all(value != "" for value in values.values())
            text = _PLACEHOLDER.sub(lambda match: values[match[1]], self.path) if filled else ""
        if not text or (self.optional and not os.path.lexists(folder / text)):
            return ""
        return str(folder / text)

    def needs(self, name: str) -> set[str]:
        """The path's column, or those in its pattern."""
        return {self.column or name} if self.path is None else set(_PLACEHOLDER.findall(self.path))

    def parse_mask(self, cell: str) -> Bool[Tensor, "c *s"]:
        """A mask file on the model's grid: True where it is above one half of 1, False where it covers nothing.

        Raises:
            ValueError: not a readable image, or too large for ``shape``.
        """
        image = read_image(cell, constant=True)
        self._check_fit(cell, image.grid)
        placed, _ = self._placement().placed(image, 0.0)
        return torch.from_numpy(placed.data > 0.5)[None].expand(self.data_shape).clone()

    def grid(self, cell: str) -> Grid:
        """The grid that a file's image lies on after ``parse``: the model's, or with ``place: box`` its own, padded.

        Raises:
            ValueError: not a readable header, or one that does not fit.
        """
        return self._placement().grid(self._fitting(cell))

    def inside(self, cell: str) -> Bool[Tensor, "c *s"]:
        """True on the voxels that the file covers, False on padding.

        Raises:
            ValueError: not a readable header, or one that does not fit.
        """
        return torch.from_numpy(self._placement().inside(self._fitting(cell)))[None].expand(self.data_shape).clone()

    def resolve(self, cells: Sequence[str], *, multiple: int) -> Self:
        """Place, shape (of all images together, rounded up to ``multiple``), affine, extension. Reads headers only.

        What is already given is kept: a model asked about new images keeps the shape it was trained on.

        Raises:
            CohortError: files that cannot be read or do not fit together, one problem a file, ``where`` its cell.
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
            problems += [Problem(cell, reason) for cell, own in grids.items() if (reason := placement.misfit(own))]
        if problems:
            raise CohortError(problems)
        return resolved

    def _read(self, cell: str, *, constant: bool) -> Image:
        """A file's image on its own grid; ``constant`` allows one of a single intensity.

        Raises:
            ValueError: not readable, or without the orientation that a place in mm needs.
        """
        image = read_image(cell, constant=constant, nan=self.nan)
        if self.place == "world" and not read_header(cell).oriented:
            raise ValueError(f"{cell}: {NOT_ORIENTED}")
        return image

    def _target(self, folder: Path, stem: str, like: str | None, *, pictures: bool = True) -> tuple[Path, Grid, bool]:
        """The file that a value is written to, the grid it lies on, and whether that file is a picture.

        Without ``pictures`` it is none: for values that greys cannot hold.
        """
        grid = self._model_grid() if like is None else self.grid(like)
        as_picture = self.extension == ".png" if like is None else len(grid.shape) == 2 and is_picture(like)
        as_picture = as_picture and pictures
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{stem}{'.png' if as_picture else '.nii.gz'}", grid, as_picture

    def _resolved_shape(self) -> tuple[int, ...]:
        if self.shape is None:
            raise ValueError("the shape of this image is not known before resolve() has seen the cohort's files")
        return self.shape

    def _model_grid(self) -> Grid:
        if self.affine is None:
            raise ValueError("the place of this image is not known before resolve() has seen the cohort's files")
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
