"""Random changes of training images: shifts, contrast and gamma, mirroring."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.rng import Rng


def augmented(
    values: Float[Tensor, "b c *s"], rng: Rng, *, shifts: int, jitter: float, flip: bool
) -> Float[Tensor, "b c *s"]:
    """The images shifted by up to ``shifts`` voxels, with gain and gamma changed by up to ``jitter``, perhaps mirrored.

    Each change has its own place in the stream, whatever the number of axes: with one stream, a picture is mirrored
    just when a volume is. Intensities stay in [0, 1].
    """
    rows, axes = len(values), values.ndim - 2
    chance = rng.uniform((rows, 3 + axes))
    changed = []
    for image, (mirrored, brighter, steeper, *places) in zip(values, chance.tolist(), strict=True):
        moves = [math.floor(place * (2 * shifts + 1)) - shifts for place in places]
        image = torch.roll(image, moves, tuple(range(1, 1 + axes)))
        gain, gamma = (1 + jitter * (2 * share - 1) for share in (brighter, steeper))
        image = (image.clamp(0, 1) ** gamma * gain).clamp(0, 1)
        changed.append(image.flip(1) if flip and mirrored < 0.5 else image)
    return torch.stack(changed)
