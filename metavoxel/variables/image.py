"""Images: volumes of three axes and pictures of two, from NIfTI, PNG or JPEG files."""

import math
import os
import re
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

from metavoxel.adapters.grid import GridSummaryAdapterSpec
from metavoxel.codecs.kl_vae import KLVAESpec
from metavoxel.errors import CohortError, Problem
from metavoxel.images.files import is_picture, read_grid, read_header, read_image, write_nifti, write_png
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.variables.augmentation import augmented
from metavoxel.variables.base import AbstractVariableSpec, Parts
from metavoxel.variables.cohort_grid import NOT_ORIENTED, cohort_grid, misfits, read_headers, unoriented, usual_place
from metavoxel.variables.entities import Entities
from metavoxel.variables.placement import AbstractPlacement, OneGrid, OwnBoxes, Place

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class ImageSpec(AbstractVariableSpec):
    """An image. Its code is a latent grid, its kernel Gaussian.

    With ``place: world`` every image is interpolated once, onto one grid in mm that covers the whole cohort, turned
    axes included, so that what lies at one place in mm lies at one voxel. With ``place: box`` images keep their own
    axes, and are stacked by the centres of their boxes. Intensities become [0, 1], and voxels that a file does not
    cover get the median of its outermost ones. Shape, affine and file type are filled in from the cohort.
    """

    lazy: ClassVar[bool] = True
    spatial: ClassVar[bool] = True

    type: Literal["image"] = "image"
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
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="percentiles of an image's intensities that become 0 and 1; beyond is clipped"
    )
    intensities: tuple[float, float] | None = Field(
        None,
        description="instead of percentiles: intensities [low, high], in the files' unit, that become 0 and 1 in every "
        "image, for maps whose level means something (CT, SUV, CBF, FA, T1); files written have the unit again",
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
    jitter: float = Field(
        0.05, ge=0, lt=1, description="training rows may have contrast and gamma changed by this share"
    )
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
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must rise within [0, 100], not {list(self.percentiles)}")
        if self.intensities is not None:
            if not self.intensities[0] < self.intensities[1] or not all(map(math.isfinite, self.intensities)):
                raise ValueError(f"intensities must rise: [low, high], not {list(self.intensities)}")
            if self.percentiles != type(self).model_fields["percentiles"].default:
                raise ValueError("percentiles and intensities each say what becomes 0 and 1: give one of them")
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
    def data_shape(self) -> tuple[int, ...]:
        return (1, *self._resolved_shape())

    def parts(self) -> Parts:
        return Parts(KLVAESpec(), GaussianKernel(), GridSummaryAdapterSpec())

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

    def parse(self, cell: str) -> Float[Tensor, "1 *s"]:
        """The image of a file: on the model's grid, with intensities in [0, 1].

        Raises:
            ValueError: not a readable, finite image with contrast, or much of it lies outside the model's grid.
        """
        image = read_image(cell, constant=self.intensities is not None, nan=self.nan)
        if self.place == "world" and not read_header(cell).oriented:
            raise ValueError(f"{cell}: {NOT_ORIENTED}")
        try:
            image, inside = self._placement().placed(image, image.background())
            low, high = self.intensities or image.percentiles(self.percentiles, inside)
        except ValueError as error:
            raise ValueError(f"{cell}: {error}") from error
        return torch.from_numpy(image.scaled(low, high).data)[None]

    def rescaled(self, data: Float[Tensor, "1 *s"]) -> Float[Tensor, "1 *s"]:
        """Intensities as a NIfTI file holds them, to what the model gave: the inverse of what ``write`` does."""
        if self.intensities is None:
            return data
        low, high = self.intensities
        return (data - low) / (high - low)

    def vary(self, values: Float[Tensor, "b 1 *s"], rng: Rng) -> Float[Tensor, "b 1 *s"]:
        return augmented(values, rng, shifts=self.shifts, jitter=self.jitter, flip=self.flip)

    def parse_mask(self, cell: str) -> Bool[Tensor, "1 *s"]:
        """A mask file on the model's grid: True where it is above one half of 1, False where it covers nothing.

        Raises:
            ValueError: not a readable image, or too large for ``shape``.
        """
        image = read_image(cell, constant=True)
        self._check_fit(cell, image.grid)
        placed, _ = self._placement().placed(image, 0.0)
        return torch.from_numpy(placed.data > 0.5)[None]

    def grid(self, cell: str) -> Grid:
        """The grid that a file's image lies on after ``parse``: the model's, or with ``place: box`` its own, padded.

        Raises:
            ValueError: not a readable header, or one that does not fit.
        """
        return self._placement().grid(self._fitting(cell))

    def inside(self, cell: str) -> Bool[Tensor, "1 *s"]:
        """True on the voxels that the file covers, False on padding.

        Raises:
            ValueError: not a readable header, or one that does not fit.
        """
        return torch.from_numpy(self._placement().inside(self._fitting(cell)))[None]

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

    def format(self, value: Tensor) -> str:
        return "image of " + "x".join(map(str, value.shape[1:])) + " voxels"

    def write(self, name: str, value: Tensor, *, folder: Path, stem: str, like: str | None = None) -> dict[str, object]:
        """Save as ``{stem}_{name}.nii.gz`` (or .png); the cell is the path relative to ``folder``."""
        grid = self._model_grid() if like is None else self.grid(like)
        as_picture = self.extension == ".png" if like is None else len(grid.shape) == 2 and is_picture(like)
        image = Image(value.detach().to("cpu", torch.float32)[0].numpy(), grid)
        if self.intensities is not None and not as_picture:
            low, high = self.intensities
            image = Image(low + image.data * np.float32(high - low), grid)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{stem}_{name}{'.png' if as_picture else '.nii.gz'}"
        (write_png if as_picture else write_nifti)(file, image)
        return {name: file.name}

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
