"""How alike images are: of a pair, of generated ones among each other, and to the people that were trained on."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from monai.metrics import MultiScaleSSIMMetric, SSIMMetric
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of MS-SSIM, finest first (Wang et al. 2003); coarse ones are left out where an image is too small."""

WINDOW = 7
"""Voxels along each side of SSIM's window; less where an image is smaller."""


class Copying(NamedTuple):
    """How near images lie to the nearest training subject.

    Attributes:
        distance: root mean squared difference from the nearest, for each image.
        ratio: of the distance to the nearest to that to the second nearest: near 0 for a copy, near 1 for an image that
            is like nobody in particular.
    """

    distance: Float64[np.ndarray, "n"]
    ratio: Float64[np.ndarray, "n"]


def psnr(image: Float[Tensor, "1 *s"], truth: Float[Tensor, "1 *s"], inside: Bool[Tensor, "1 *s"]) -> float:
    """Peak signal-to-noise ratio (dB) over unpadded voxels, with intensities clipped to [0, 1]."""
    error = ((image.clamp(0, 1) - truth)[inside] ** 2).mean()
    return float(-10 * torch.log10(error.clamp_min(1e-12)))


def window(shape: Sequence[int]) -> int:
    """The odd window of SSIM that fits an image."""
    smallest = min(shape)
    return min(WINDOW, smallest if smallest % 2 else smallest - 1)


def scales(shape: Sequence[int]) -> int:
    """How many scales of MS-SSIM an image has room for: each halves it, and the coarsest must hold the window."""
    size, count = window(shape), 1
    while count < len(WEIGHTS) and min(shape) // max(1, count) ** 2 > size - 1 and min(shape) // 2**count >= size:
        count += 1
    return count


def ssim(image: Float[Tensor, "1 *s"], truth: Float[Tensor, "1 *s"]) -> float:
    """Structural similarity, intensities in [0, 1]."""
    measure = SSIMMetric(len(truth.shape) - 1, win_size=window(truth.shape[1:]))
    return float(torch.as_tensor(measure(image.clamp(0, 1)[None], truth[None])).mean())


def ms_ssim(a: Float[Tensor, "1 *s"], b: Float[Tensor, "1 *s"]) -> float:
    """Multi-scale structural similarity of a pair, intensities in [0, 1]."""
    count = scales(a.shape[1:])
    weights = [weight / sum(WEIGHTS[:count]) for weight in WEIGHTS[:count]]
    measure = MultiScaleSSIMMetric(len(a.shape) - 1, kernel_size=window(a.shape[1:]), weights=weights)
    return float(torch.as_tensor(measure(a.clamp(0, 1)[None], b.clamp(0, 1)[None])).mean())


def pairs(count: int, most: int, *, seed: int = 0) -> list[tuple[int, int]]:
    """Distinct pairs of images, drawn without order."""
    every = math.comb(count, 2)
    chosen = np.random.default_rng(seed).permutation(every)[:most]
    first, second = np.triu_indices(count, 1)
    return [(int(first[index]), int(second[index])) for index in chosen]


def nearest(
    images: Sequence[Float[Tensor, "1 *s"]], training: Iterable[Float[Tensor, "1 *s"]], inside: Bool[Tensor, "1 *s"]
) -> Copying:
    """Compare images with every training subject's, one of which is held at a time."""
    flat = torch.stack([image[inside] for image in images])
    best = torch.full((len(images), 2), math.inf)
    for other in training:
        apart = ((flat - other[inside]) ** 2).mean(1).sqrt()
        best = torch.cat([best, apart[:, None]], 1).sort(1).values[:, :2]
    found = best.double().numpy()
    return Copying(found[:, 0], np.divide(found[:, 0], found[:, 1], where=found[:, 1] > 0, out=np.zeros(len(found))))
