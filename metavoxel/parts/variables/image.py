"""Images: volumes of three axes and pictures of two, from NIfTI, PNG or JPEG files."""

import math
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from metavoxel.images.files import write_nifti, write_png
from metavoxel.images.image import Image
from metavoxel.parts.adapters.grid import GridSummaryAdapterSpec
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.augmentation import augmented
from metavoxel.parts.variables.base import Parts
from metavoxel.parts.variables.spatial import AbstractSpatialSpec
from metavoxel.rng import Rng


class ImageSpec(AbstractSpatialSpec):
    """An image. Its code is a latent grid, its kernel Gaussian.

    With ``place: world`` every image is interpolated once, onto one grid in mm that covers the whole cohort, turned
    axes included, so that what lies at one place in mm lies at one voxel. With ``place: box`` images keep their own
    axes, and are stacked by the centres of their boxes. Intensities become [0, 1], and voxels that a file does not
    cover get the median of its outermost ones. Shape, affine and file type are filled in from the cohort.
    """

    type: Literal["image"] = "image"
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="percentiles of an image's intensities that become 0 and 1; beyond is clipped"
    )
    intensities: tuple[float, float] | None = Field(
        None,
        description="instead of percentiles: intensities [low, high], in the files' unit, that become 0 and 1 in every "
        "image, for maps whose level means something (CT, SUV, CBF, FA, T1); files written have the unit again",
    )
    jitter: float = Field(
        0.05, ge=0, lt=1, description="training rows may have contrast and gamma changed by this share"
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
                raise ValueError("percentiles and intensities each say what becomes 0 and 1: give one of them")
        return self

    @property
    def data_shape(self) -> tuple[int, ...]:
        return (1, *self._resolved_shape())

    def parts(self) -> Parts:
        return Parts(KLVAESpec(), GaussianKernel(), GridSummaryAdapterSpec())

    def parse(self, cell: str) -> Float[Tensor, "1 *s"]:
        """The image of a file: on the model's grid, with intensities in [0, 1].

        Raises:
            ValueError: not a readable, finite image with contrast, or much of it lies outside the model's grid.
        """
        image = self._read(cell, constant=self.intensities is not None)
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

    def augment(self, values: Float[Tensor, "b 1 *s"], rng: Rng) -> Float[Tensor, "b 1 *s"]:
        return augmented(values, rng, shifts=self.shifts, jitter=self.jitter, flip=self.flip)

    def format(self, value: Tensor) -> str:
        return "image of " + "x".join(map(str, value.shape[1:])) + " voxels"

    def write(self, name: str, value: Tensor, *, folder: Path, stem: str, like: str | None = None) -> dict[str, object]:
        """Save as ``{stem}_{name}.nii.gz`` (or .png); the cell is the path relative to ``folder``."""
        file, grid, as_picture = self._target(folder, f"{stem}_{name}", like)
        image = Image(value.detach().to("cpu", torch.float32)[0].numpy(), grid)
        if self.intensities is not None and not as_picture:
            low, high = self.intensities
            image = Image(low + image.data * np.float32(high - low), grid)
        (write_png if as_picture else write_nifti)(file, image)
        return {name: file.name}
