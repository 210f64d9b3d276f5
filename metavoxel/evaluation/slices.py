"""Slices of volumes, and their features: what the 2.5-D Fréchet distance is made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from metavoxel.evaluation.metrics.features.base import AbstractFeatures

MOST_SLICES = 24
"""Slices of each plane of each volume that are looked at, evenly spaced among those that are not empty."""

FILLED = 0.05
"""A plane's position counts where half of the held-out volumes have a voxel above this there (of their own maximum)."""

PLANES = {2: ("picture",), 3: ("YZ", "ZX", "XY")}
"""Planes by the axis across them, for images of two and three axes (x to the right, y forward, z up)."""

PRESET = "2.5-D for MR, version 1"
"""What the choices here are called in a report."""


@final
@dataclass(frozen=True)
class Cut:
    """Which slices of an image are looked at: for each plane, positions along the axis across it."""

    axes: int
    positions: tuple[tuple[int, ...], ...]

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of the planes."""
        return PLANES[self.axes]

    @property
    def fewest(self) -> int:
        """Slices of a scan, in the plane that has fewest."""
        return min(len(positions) for positions in self.positions)

    def slices(self, image: Float[Tensor, "1 *s"]) -> list[Float[Tensor, "_ _ _"]]:
        """The slices of each plane, the image's own minimum and maximum made 0 and 1 as MAISI does."""
        low, high = image.min(), image.max()
        scaled = (image - low) / (high - low).clamp_min(1e-6)
        if self.axes == 2:
            return [scaled]
        return [
            scaled[0].index_select(axis, torch.tensor(positions)).movedim(axis, 0)
            for axis, positions in enumerate(self.positions)
        ]


def cut(images: Iterable[Float[Tensor, "1 *s"]]) -> Cut:
    """The positions that are not empty in most held-out volumes; at most ``MOST_SLICES`` a plane."""
    counts: list[Tensor] = []
    number, axes = 0, 2
    for image in images:
        number, axes = number + 1, image.ndim - 1
        filled = image[0] > FILLED * image.max()
        across = [tuple(other for other in range(axes) if other != axis) for axis in range(axes)]
        found = [filled.any(dim=rest).long() for rest in across]
        counts = [a + b for a, b in zip(counts, found, strict=True)] if counts else found
    if axes == 2:
        return Cut(2, ((0,),))
    positions = []
    for count in counts:
        kept = (2 * count >= number).nonzero()[:, 0].tolist()
        chosen = np.linspace(0, len(kept) - 1, min(len(kept), MOST_SLICES)).round().astype(int)
        positions.append(tuple(kept[index] for index in chosen))
    return Cut(3, tuple(positions))


def features_of(
    images: Iterable[Float[Tensor, "1 *s"]], where: Cut, network: AbstractFeatures
) -> list[Float32[np.ndarray, "_ _ _"]]:
    """For each plane the features of every volume's slices."""
    found: list[list[np.ndarray]] = [[] for _ in where.planes]
    for image in images:
        for plane, slices in enumerate(where.slices(image)):
            found[plane].append(network(slices).numpy().astype(np.float32))
    return [np.stack(plane) for plane in found]
