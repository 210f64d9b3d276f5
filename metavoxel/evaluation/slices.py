"""Slices of volumes and their features, for the 2.5-D Fréchet distance."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from metavoxel.evaluation.metrics.features.base import AbstractImageFeatures

MOST_SLICES = 24
"""Most slices per plane and volume, evenly spaced among the non-empty positions."""

FILLED = 0.05
"""A position is non-empty if half of the held-out volumes have a voxel there above this share of their maximum."""

PLANES = {2: ("picture",), 3: ("YZ", "ZX", "XY")}
"""Planes by their normal axis, for images of two and three axes (x to the right, y forward, z up)."""

PRESET = "2.5-D for MR, version 1"
"""Name of these choices in the report."""


@final
@dataclass(frozen=True)
class Cut:
    """Selected slices of an image: for each plane, positions along its normal axis."""

    axes: int
    positions: tuple[tuple[int, ...], ...]

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of the planes."""
        return PLANES[self.axes]

    @property
    def fewest(self) -> int:
        """Smallest number of slices per scan over planes."""
        return min(len(positions) for positions in self.positions)

    def slices(self, image: Float[Tensor, "1 *s"]) -> list[Float[Tensor, "_ _ _"]]:
        """Slices of each plane, after scaling the image by its minimum and maximum to [0, 1] as in MAISI."""
        low, high = image.min(), image.max()
        scaled = (image - low) / (high - low).clamp_min(1e-6)
        if self.axes == 2:
            return [scaled]
        return [
            scaled[0].index_select(axis, torch.tensor(positions)).movedim(axis, 0)
            for axis, positions in enumerate(self.positions)
        ]


def cut(images: Iterable[Float[Tensor, "1 *s"]]) -> Cut:
    """Select positions that are non-empty in at least half of the volumes, at most ``MOST_SLICES`` per plane."""
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
    images: Iterable[Float[Tensor, "1 *s"]], where: Cut, network: AbstractImageFeatures
) -> list[Float32[np.ndarray, "_ _ _"]]:
    """Features of every volume's slices, for each plane."""
    found: list[list[np.ndarray]] = [[] for _ in where.planes]
    for image in images:
        for plane, slices in enumerate(where.slices(image)):
            found[plane].append(network(slices).numpy().astype(np.float32))
    return [np.stack(plane) for plane in found]
