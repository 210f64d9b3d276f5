"""Placement of images on the model's grid: by world coordinates in mm, or by the centre of the image box."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Bool

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.images.resampling import covered

Place = Literal["world", "box"]

_MAX_OUTSIDE = 0.1
"""Maximum fraction of an image's contents outside the model's grid."""


class AbstractPlacement(ABC):
    """Mapping of images with a given number of axes to the shape of the model's grid."""

    @abstractmethod
    def misfit(self, own: Grid) -> str:
        """Return why an image on this grid does not fit the model's grid; empty if it does."""

    @abstractmethod
    def grid(self, own: Grid) -> Grid:
        """Return the grid of an image after placement; ``own`` must fit."""

    @abstractmethod
    def inside(self, own: Grid) -> Bool[np.ndarray, "*s"]:
        """Return a mask of the model's voxels that the image covers; ``own`` must fit."""

    @abstractmethod
    def placed(self, image: Image, fill: float) -> tuple[Image, Bool[np.ndarray, "*s"]]:
        """Return the image on the model's voxels, padded with ``fill``, and the mask of covered voxels.

        Raises:
            ValueError: the image does not fit.
        """


@final
@dataclass(frozen=True, eq=False)
class OneGrid(AbstractPlacement):
    """Placement by affines on one grid in mm. With ``crop``, any fraction of an image may lie outside."""

    model: Grid
    crop: bool = False

    def misfit(self, own: Grid) -> str:
        if len(own.shape) != len(self.model.shape):
            return f"has {len(own.shape)} axes where {len(self.model.shape)} are expected"
        if not self.inside(own).any():
            distance = float(np.linalg.norm(own.corners().mean(0) - self.model.corners().mean(0)))
            return f"lies outside the model's grid ({self.model}): the centres are {distance:.0f} mm apart"
        return ""

    def grid(self, own: Grid) -> Grid:
        return self.model

    def inside(self, own: Grid) -> Bool[np.ndarray, "*s"]:
        return covered(own, self.model)

    def placed(self, image: Image, fill: float) -> tuple[Image, Bool[np.ndarray, "*s"]]:
        if reason := self.misfit(image.grid):
            raise ValueError(reason)
        fraction = 0.0 if self.crop else image.share_beyond(self.model, fill)
        if fraction > _MAX_OUTSIDE:
            raise ValueError(
                f"{fraction:.0%} of its contents lies outside the model's grid ({self.model}) in world coordinates: "
                "register it to the cohort's space, or crop it"
            )
        return image.onto(self.model, fill)


@final
@dataclass(frozen=True, eq=False)
class OwnBoxes(AbstractPlacement):
    """Placement by the centres of image boxes, ignoring affines; at ``spacing`` mm, or that of the model's grid."""

    model: Grid
    spacing: float | None

    def misfit(self, own: Grid) -> str:
        shape, own = self.model.shape, self._spaced(own)
        if len(own.shape) != len(shape):
            return f"has {len(own.shape)} axes where {len(shape)} are expected"
        if any(new > size for new, size in zip(own.shape, shape, strict=True)):
            return f"is {own}, larger than the shape {list(shape)}; crop it first"
        if self.spacing is None and not own.padded(shape).agrees(self.model):
            return f"is {own}, while the model's grid is at {self.model.spacing}; set 'spacing' to resample them all"
        return ""

    def grid(self, own: Grid) -> Grid:
        return self._spaced(own).padded(self.model.shape)

    def inside(self, own: Grid) -> Bool[np.ndarray, "*s"]:
        spaced = self._spaced(own)
        return np.pad(np.ones(spaced.shape, dtype=bool), spaced.margins(self.model.shape))

    def placed(self, image: Image, fill: float) -> tuple[Image, Bool[np.ndarray, "*s"]]:
        if reason := self.misfit(image.grid):
            raise ValueError(reason)
        spaced = image if self.spacing is None else image.resampled(self.spacing)
        return spaced.padded(self.model.shape, fill), self.inside(image.grid)

    def _spaced(self, own: Grid) -> Grid:
        return own if self.spacing is None else own.resampled(self.spacing)
