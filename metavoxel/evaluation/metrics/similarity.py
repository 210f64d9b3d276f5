"""Similarity of images: of pairs, within a generated set, and to training subjects."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from monai.metrics import MultiScaleSSIMMetric, SSIMMetric
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales of MS-SSIM, finest first (Wang et al. 2003); small images omit the coarse scales."""

WINDOW = 7
"""Side of SSIM's window in voxels; less for smaller images."""


class Copying(NamedTuple):
    """Distances to the nearest training subject.

    Attributes:
        distance: root mean squared difference from the nearest subject, for each image.
        ratio: distance to the nearest over distance to the second nearest subject: near 0 for a copy, near 1 for an
            image similar to no subject in particular.
    """

    distance: Float64[np.ndarray, "n"]
    ratio: Float64[np.ndarray, "n"]


def psnr(image: Float[Tensor, "1 *s"], truth: Float[Tensor, "1 *s"], inside: Bool[Tensor, "1 *s"]) -> float:
    """Peak signal-to-noise ratio (dB) over the voxels ``inside``, with intensities clipped to [0, 1]."""
    error = ((image.clamp(0, 1) - truth)[inside] ** 2).mean()
    return float(-10 * torch.log10(error.clamp_min(1e-12)))


def window(shape: Sequence[int]) -> int:
    """Odd side of the SSIM window that fits an image."""
    smallest = min(shape)
    return min(WINDOW, smallest if smallest % 2 else smallest - 1)


def scales(shape: Sequence[int]) -> int:
    """Number of MS-SSIM scales for an image: each halves it, and the coarsest must contain the window."""
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
    """Random distinct unordered pairs of images, at most ``most``."""
    every = math.comb(count, 2)
    chosen = np.random.default_rng(seed).permutation(every)[:most]
    first, second = np.triu_indices(count, 1)
    return [(int(first[index]), int(second[index])) for index in chosen]


def nearest(
    images: Sequence[Float[Tensor, "1 *s"]], training: Iterable[Float[Tensor, "1 *s"]], inside: Bool[Tensor, "1 *s"]
) -> Copying:
    """Distances of images to the nearest training subject, with one training image in memory at a time."""
    flat = torch.stack([image[inside] for image in images])
    best = torch.full((len(images), 2), math.inf)
    for other in training:
        apart = ((flat - other[inside]) ** 2).mean(1).sqrt()
        best = torch.cat([best, apart[:, None]], 1).sort(1).values[:, :2]
    found = best.double().numpy()
    return Copying(found[:, 0], np.divide(found[:, 0], found[:, 1], where=found[:, 1] > 0, out=np.zeros(len(found))))
