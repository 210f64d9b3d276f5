"""How an image comes to the model's voxels: by its place in mm, or as its own box."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Bool

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.images.resampling import covered

Place = Literal["world", "box"]

_LOST = 0.1
"""Share of what an image shows that may lie outside the model's grid."""


class AbstractPlacement(ABC):
    """Brings images of one number of axes to the shape of the model's grid."""

    @abstractmethod
    def misfit(self, own: Grid) -> str:
        """Why an image on this grid cannot be brought to the model's; nothing when it can."""

    @abstractmethod
    def grid(self, own: Grid) -> Grid:
        """The grid that an image lies on once it is placed; ``own`` fits."""

    @abstractmethod
    def inside(self, own: Grid) -> Bool[np.ndarray, "*s"]:
        """True on the model's voxels that the image covers; ``own`` fits."""

    @abstractmethod
    def placed(self, image: Image, fill: float) -> tuple[Image, Bool[np.ndarray, "*s"]]:
        """The image on the model's voxels, ``fill`` around it, and which of them it covers.

        Raises:
            ValueError: it does not fit.
        """


@final
@dataclass(frozen=True, eq=False)
class OneGrid(AbstractPlacement):
    """By the affines: one grid in mm for all. With ``crop``, what lies beyond it is cut off without a limit."""

    model: Grid
    crop: bool = False

    def misfit(self, own: Grid) -> str:
        if len(own.shape) != len(self.model.shape):
            return f"has {len(own.shape)} axes where {len(self.model.shape)} are expected"
        if not self.inside(own).any():
            away = float(np.linalg.norm(own.corners().mean(0) - self.model.corners().mean(0)))
            return f"lies outside the model's grid ({self.model}): the centres are {away:.0f} mm apart"
        return ""

    def grid(self, own: Grid) -> Grid:
        return self.model

    def inside(self, own: Grid) -> Bool[np.ndarray, "*s"]:
        return covered(own, self.model)

    def placed(self, image: Image, fill: float) -> tuple[Image, Bool[np.ndarray, "*s"]]:
        if reason := self.misfit(image.grid):
            raise ValueError(reason)
        share = 0.0 if self.crop else image.share_beyond(self.model, fill)
        if share > _LOST:
            raise ValueError(
                f"{share:.0%} of what it shows lies outside the model's grid ({self.model}), by their places in mm: "
                "register it to the cohort's space, or crop it"
            )
        return image.onto(self.model, fill)


@final
@dataclass(frozen=True, eq=False)
class OwnBoxes(AbstractPlacement):
    """By the centres of the images' boxes, whatever their affines; at ``spacing`` mm, or that of the model's grid."""

    model: Grid
    spacing: float | None

    def misfit(self, own: Grid) -> str:
        shape, own = self.model.shape, self._spaced(own)
        if len(own.shape) != len(shape):
            return f"has {len(own.shape)} axes where {len(shape)} are expected"
        if any(new > size for new, size in zip(own.shape, shape, strict=True)):
            return f"is {own}, larger than the shape {list(shape)} that it must fit; crop it first"
        if self.spacing is None and not own.padded(shape).agrees(self.model):
            return f"is {own}, while the others are at {self.model.spacing}; set 'spacing' to resample them all"
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
