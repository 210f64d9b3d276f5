"""Images: volumes of three axes and pictures of two, from NIfTI, PNG or JPEG files."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat, PositiveInt, WithJsonSchema, field_validator, model_validator
from torch import Tensor

from metavoxel.adapters.grid import GridSummaryAdapterSpec
from metavoxel.codecs.kl_vae import KLVAESpec
from metavoxel.errors import CohortError, Problem
from metavoxel.images.files import is_nifti, read_grid, read_image, write_nifti, write_png
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.variables.base import AbstractVariableSpec, Parts

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_READERS = 4
_ENTITIES = {"type": "object", "additionalProperties": {"type": ["string", "number", "null"]}}


class ImageSpec(AbstractVariableSpec):
    """An image. Its code is a latent grid, its kernel Gaussian.

    Every image is brought to RAS+ axes, to ``spacing``, to intensities in [0, 1], and padded with zeros to one shape.
    Shape, affine and file type are filled in from the cohort.
    """

    lazy: ClassVar[bool] = True
    spatial: ClassVar[bool] = True

    type: Literal["image"] = "image"
    path: str | None = Field(
        None, description="file of every row, with the table's columns in braces; relative to the table's folder"
    )
    entities: Annotated[dict[str, str | None], WithJsonSchema(_ENTITIES)] = Field(
        {},
        description="BIDS entities of the file, null for one that its name must not have; by default {suffix: T1w}. "
        "Also 'run: first' or 'run: last' of a visit, 'extension', 'datatype', and 'derivative', a folder of "
        "'derivatives' instead of the raw data",
    )
    spacing: PositiveFloat | None = Field(
        None, description="resample to this isotropic spacing in mm; by default files keep their own, and must agree"
    )
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="percentiles of an image's intensities that become 0 and 1; beyond is clipped"
    )
    shape: tuple[PositiveInt, ...] | None = Field(
        None, description="voxels along each axis after padding; by default the largest image's, as the model needs"
    )
    affine: list[list[float]] | None = Field(
        None, description="voxel indices to mm for images without a place of their own; by default the first image's"
    )
    shifts: int = Field(1, ge=0, description="training rows may be shifted by up to this many voxels along each axis")
    jitter: float = Field(
        0.05, ge=0, lt=1, description="training rows may have contrast and gamma changed by this share"
    )
    flip: bool = Field(False, description="training rows may be mirrored left to right (the first axis)")
    extension: Literal[".nii.gz", ".png"] | None = Field(
        None, description="type of the files written; by default as those read"
    )

    @field_validator("entities", mode="before")
    @classmethod
    def _as_text(cls, entities: object) -> object:
        """Indices may be numbers. Any other value is left to be refused, an empty text as no label."""
        if not isinstance(entities, dict):
            return entities
        empty = [str(name) for name, value in entities.items() if value == ""]
        if empty:
            raise ValueError(f"{empty[0]!r} is empty; write null for files without it, or leave it out for any")
        return {str(name): str(value) if type(value) in (int, float) else value for name, value in entities.items()}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [word for word in ("path", "column", "entities") if getattr(self, word)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each say where the file is: give one of them")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must rise within [0, 100], not {list(self.percentiles)}")
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

        Raises:
            KeyError: the name of a column that the table lacks.
        """
        if self.path is None:
            text = row[self.column or name]
        else:
            values = {column: row[column] for column in _PLACEHOLDER.findall(self.path)}
            filled = all(value != "" for value in values.values())
            text = _PLACEHOLDER.sub(lambda match: values[match[1]], self.path) if filled else ""
        return str(folder / text) if text else ""

    def needs(self, name: str) -> set[str]:
        """The path's column, or those in its pattern."""
        return {self.column or name} if self.path is None else set(_PLACEHOLDER.findall(self.path))

    def parse(self, cell: str) -> Float[Tensor, "1 *s"]:
        """The image of a file: resampled, scaled to [0, 1], padded with zeros.

        Raises:
            ValueError: not a readable, finite image with contrast, or too large for ``shape``.
        """
        shape = self._resolved_shape()
        image = read_image(cell)
        if self.spacing is not None:
            image = image.resampled(self.spacing)
        self._check_fit(cell, image.grid)
        try:
            image = image.scaled(self.percentiles)
        except ValueError as error:
            raise ValueError(f"{cell}: {error}") from error
        return torch.from_numpy(image.padded(shape).data)[None]

    def vary(self, values: Float[Tensor, "b 1 *s"], rng: Rng) -> Float[Tensor, "b 1 *s"]:
        """The same images a little shifted, with a little more or less contrast, and perhaps mirrored.

        What each chance does has its own place in the stream, whatever the number of axes: with one stream, a picture
        is mirrored just when a volume is.
        """
        rows, axes = len(values), values.ndim - 2
        chance = rng.uniform((rows, 3 + axes))
        varied = []
        for image, (mirrored, brighter, steeper, *places) in zip(values, chance.tolist(), strict=True):
            moves = [math.floor(place * (2 * self.shifts + 1)) - self.shifts for place in places]
            image = torch.roll(image, moves, tuple(range(1, 1 + axes)))
            gain, gamma = (1 + self.jitter * (2 * share - 1) for share in (brighter, steeper))
            image = (image.clamp(0, 1) ** gamma * gain).clamp(0, 1)
            varied.append(image.flip(1) if self.flip and mirrored < 0.5 else image)
        return torch.stack(varied)

    def parse_mask(self, cell: str) -> Bool[Tensor, "1 *s"]:
        """A mask file on the same grid as its image: True where it is above one half of 1, False on padding.

        Raises:
            ValueError: not a readable image, or too large for ``shape``.
        """
        image = read_image(cell, constant=True)
        if self.spacing is not None:
            image = image.resampled(self.spacing)
        self._check_fit(cell, image.grid)
        return torch.from_numpy(image.padded(self._resolved_shape()).data > 0.5)[None]

    def grid(self, cell: str) -> Grid:
        """The padded grid that a file's image lies on after ``parse``.

        Raises:
            ValueError: not a readable header, or too large for ``shape``.
        """
        grid = self._unpadded(cell)
        self._check_fit(cell, grid)
        return grid.padded(self._resolved_shape())

    def inside(self, cell: str) -> Bool[Tensor, "1 *s"]:
        """True on the voxels that the file covers, False on padding.

        Raises:
            ValueError: not a readable header, or too large for ``shape``.
        """
        grid = self._unpadded(cell)
        self._check_fit(cell, grid)
        covered = np.ones(grid.shape, dtype=bool)
        return torch.from_numpy(np.pad(covered, grid.margins(self._resolved_shape())))[None]

    def resolve(self, cells: Sequence[str], *, multiple: int) -> Self:
        """Shape (the largest image's, rounded up to ``multiple``), affine and extension. Reads headers only.

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
        grids, problems = self._grids(cells)
        problems += self._misfits(grids)
        if problems:
            raise CohortError(problems)
        largest = np.max([grid.shape for grid in grids.values()], axis=0)
        shape = self.shape or tuple(math.ceil(int(size) / multiple) * multiple for size in largest)
        picture = len(shape) == 2 and not is_nifti(cells[0])
        return self.model_copy(
            update={
                "shape": shape,
                "affine": self.affine or grids[cells[0]].padded(shape).affine.tolist(),
                "extension": self.extension or (".png" if picture else ".nii.gz"),
            }
        )

    def format(self, value: Tensor) -> str:
        return "image of " + "x".join(map(str, value.shape[1:])) + " voxels"

    def write(self, name: str, value: Tensor, *, folder: Path, stem: str, like: str | None = None) -> dict[str, object]:
        """Save as ``{stem}_{name}.nii.gz`` (or .png); the cell is the path relative to ``folder``."""
        if like is not None:
            grid = self.grid(like)
        elif self.affine is not None:
            grid = Grid(self._resolved_shape(), np.asarray(self.affine, np.float64))
        else:
            raise ValueError("an image that is like no other needs 'affine', which resolve() takes from the cohort")
        as_picture = self.extension == ".png" if like is None else len(grid.shape) == 2 and not is_nifti(like)
        image = Image(value.detach().to("cpu", torch.float32)[0].numpy(), grid)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{stem}_{name}{'.png' if as_picture else '.nii.gz'}"
        (write_png if as_picture else write_nifti)(file, image)
        return {name: file.name}

    def _resolved_shape(self) -> tuple[int, ...]:
        if self.shape is None:
            raise ValueError("the shape of this image is not known before resolve() has seen the cohort's files")
        return self.shape

    def _unpadded(self, cell: str) -> Grid:
        grid = read_grid(cell)
        return grid if self.spacing is None else grid.resampled(self.spacing)

    def _check_fit(self, cell: str, grid: Grid) -> None:
        reason = self._misfit(grid)
        if reason:
            raise ValueError(f"{cell}: {reason}")

    def _misfit(self, grid: Grid) -> str:
        """Why an image on this grid does not fit the resolved settings; nothing when it does."""
        shape = self._resolved_shape()
        if len(grid.shape) != len(shape):
            return f"has {len(grid.shape)} axes where {len(shape)} are expected"
        if any(new > size for new, size in zip(grid.shape, shape, strict=True)):
            return f"is {grid}, larger than the shape {list(shape)} that it must fit; crop it first"
        if self.spacing is None and self.affine is not None:
            reference = Grid(shape, np.asarray(self.affine, np.float64))
            if not grid.padded(shape).agrees(reference):
                return f"is {grid}, while the others are at {reference.spacing}; set 'spacing' to resample them all"
        return ""

    def _grids(self, cells: Sequence[str]) -> tuple[dict[str, Grid], list[Problem]]:
        def attempt(cell: str) -> Grid | Problem:
            try:
                return self._unpadded(cell)
            except ValueError as error:
                return Problem(cell, str(error))

        distinct = list(dict.fromkeys(cells))
        with ThreadPoolExecutor(_READERS) as pool:
            found = dict(zip(distinct, pool.map(attempt, distinct), strict=True))
        grids = {cell: grid for cell, grid in found.items() if isinstance(grid, Grid)}
        return grids, [problem for problem in found.values() if isinstance(problem, Problem)]

    def _misfits(self, grids: Mapping[str, Grid]) -> list[Problem]:
        if self.shape is not None:
            reasons = {cell: self._misfit(grid) for cell, grid in grids.items()}
            return [Problem(cell, reason) for cell, reason in reasons.items() if reason]
        if not grids:
            return []
        usual_axes = Counter(len(grid.shape) for grid in grids.values()).most_common(1)[0][0]
        alike = [grid for grid in grids.values() if len(grid.shape) == usual_axes]
        usual = next(grid for grid in alike if str(grid) == Counter(map(str, alike)).most_common(1)[0][0])
        problems = []
        for cell, grid in grids.items():
            if len(grid.shape) != usual_axes:
                what = f"has {len(grid.shape)} axes where most images of this variable have {usual_axes}"
            elif self.spacing is None and not grid.agrees(usual):
                what = f"is {grid}, while most images are {usual}; set 'spacing' to resample them all to one grid"
            else:
                continue
            problems.append(Problem(cell, what))
        return problems
