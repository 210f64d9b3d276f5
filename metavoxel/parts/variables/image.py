"""Image variables: 2-D and 3-D images from NIfTI, PNG or JPEG files."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import Field, model_validator
from torch import Tensor

from metavoxel.images.files import write_nifti, write_png
from metavoxel.images.image import Image
from metavoxel.parts.adapters.grid import GridSummaryAdapterSpec
from metavoxel.parts.codecs.local_pca import LocalPCASpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.augmentation import augmented
from metavoxel.parts.variables.base import Parts, Recorded
from metavoxel.parts.variables.column import Column
from metavoxel.parts.variables.spatial import AbstractSpatialSpec
from metavoxel.rng import Rng


class ImageSpec(AbstractSpatialSpec):
    """Settings of an image: latent grid code, Gaussian kernel.

    With ``place: world`` every image is resampled once to a grid in mm that covers the cohort, oblique images included,
    so that voxel indices correspond to world coordinates. With ``place: box`` images keep their axes and are aligned by
    the centres of their boxes. Intensities are scaled to [0, 1]; voxels outside a file's field of view have the median
    of its outermost voxels. Shape, affine and file type are filled in from the cohort.
    """

    type: Literal["image"] = "image"
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5),
        description="percentiles of an image's intensities that are scaled to 0 and 1; values beyond are clipped",
    )
    intensities: tuple[float, float] | None = Field(
        None,
        description="instead of percentiles: intensities [low, high], in the unit of the files, that are scaled to 0 "
        "and 1 in every image, for quantitative maps (CT, SUV, CBF, FA, T1); files written have the original unit",
    )
    jitter: float = Field(
        0.05, ge=0, lt=1, description="augmentation: change gain and gamma of training rows by up to this fraction"
    )

    @model_validator(mode="after")
    def _one_window(self) -> Self:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must rise within [0, 100], not {list(self.percentiles)}")
        if self.intensities is not None:
            if not self.intensities[0] < self.intensities[1] or not all(map(math.isfinite, self.intensities)):
                raise ValueError(f"intensities must rise: [low, high], not {list(self.intensities)}")
            if self.percentiles != type(self).model_fields["percentiles"].default:
                raise ValueError("percentiles and intensities both define the scaling to [0, 1]: give one of them")
        return self

    @property
    def data_shape(self) -> tuple[int, ...]:
        return (1, *self._resolved_shape())

    def parts(self) -> Parts:
        return Parts(LocalPCASpec(), GaussianKernel(), GridSummaryAdapterSpec())

    def parse(self, cell: str) -> Float[Tensor, "1 *s"]:
        """Read a file as an image on the model's grid, with intensities in [0, 1].

        Raises:
            ValueError: the image cannot be read, is not finite, has no contrast, or lies largely outside the grid.
        """
        image = self._read(cell, constant=self.intensities is not None)
        try:
            image, inside = self._placement().placed(image, image.background())
            low, high = self.intensities or image.percentiles(self.percentiles, inside)
        except ValueError as error:
            raise ValueError(f"{cell}: {error}") from error
        return torch.from_numpy(image.scaled(low, high).data)[None]

    def file_warnings(self, column: Column, others: Mapping[str, Recorded]) -> Iterator[str]:
        """Yield warnings about positions, and about intensity levels that ``percentiles`` remove."""
        from metavoxel.parts.variables.level_warnings import removed_levels  # its tests take a second to import

        yield from super().file_warnings(column, others)
        if self.intensities is None:
            yield from removed_levels(column, others, percentile=self.percentiles[1], nan=self.nan)

    def rescaled(self, data: Float[Tensor, "1 *s"]) -> Float[Tensor, "1 *s"]:
        """Rescale intensities of a written NIfTI file to those of the model, the inverse of ``write``."""
        if self.intensities is None:
            return data
        low, high = self.intensities
        return (data - low) / (high - low)

    def augment(self, values: Float[Tensor, "b 1 *s"], rng: Rng) -> Float[Tensor, "b 1 *s"]:
        return augmented(values, rng, shifts=self.shifts, jitter=self.jitter, flip=self.flip)

    def _in_unit(self, data: Float32[np.ndarray, "*s"]) -> Float32[np.ndarray, "*s"]:
        """Intensities in the files' unit, if ``intensities`` fixes it."""
        if self.intensities is None:
            return data
        low, high = self.intensities
        return low + data * np.float32(high - low)

    def _volume(self, value: Float[Tensor, "c *s"]) -> Image:
        image = super()._volume(value)
        return Image(self._in_unit(image.data), image.grid)

    def format(self, value: Tensor) -> str:
        return "image of " + "x".join(map(str, value.shape[1:])) + " voxels"

    def write(self, name: str, value: Tensor, *, folder: Path, stem: str, like: str | None = None) -> dict[str, object]:
        """Save as ``{stem}_{name}.nii.gz`` or .png; the returned cell is the path relative to ``folder``."""
        file, grid, as_picture = self._target(folder, f"{stem}_{name}", like)
        data = value.detach().to("cpu", torch.float32)[0].numpy()
        (write_png if as_picture else write_nifti)(file, Image(data if as_picture else self._in_unit(data), grid))
        return {name: file.name}
