"""Data augmentation of training images: shifts, contrast, gamma and mirroring."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.rng import Rng


def augmented(
    values: Float[Tensor, "b c *s"], rng: Rng, *, shifts: int, jitter: float, flip: bool
) -> Float[Tensor, "b c *s"]:
    """Shift images by up to ``shifts`` voxels, change gain and gamma by up to ``jitter``, and mirror with ``flip``.

    The random number of each operation does not depend on the number of axes, so that 2-D and 3-D images of one stream
    are mirrored together. Intensities stay in [0, 1].
    """
    rows, axes = len(values), values.ndim - 2
    uniform = rng.uniform((rows, 3 + axes))
    results = []
    for image, (u_flip, u_gain, u_gamma, *u_shifts) in zip(values, uniform.tolist(), strict=True):
        offsets = [math.floor(u * (2 * shifts + 1)) - shifts for u in u_shifts]
        image = torch.roll(image, offsets, tuple(range(1, 1 + axes)))
        gain, gamma = (1 + jitter * (2 * u - 1) for u in (u_gain, u_gamma))
        image = (image.clamp(0, 1) ** gamma * gain).clamp(0, 1)
        results.append(image.flip(1) if flip and u_flip < 0.5 else image)
    return torch.stack(results)
