"""How a time becomes features, and a sum of maps a stream."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

TIME_FEATURES = 16


def time_features(t: Float[Tensor, "*b"]) -> Float[Tensor, "*b f"]:
    """Smooth features of a time in [0, 1]: itself, its two ends set apart, and sines and cosines of rising frequency.

    The ends are where questions are asked (t = 0 is evidence, t = 1 is ignorance), so each has a feature of its own.
    """
    t = t[..., None].double()
    frequencies = math.pi * 2.0 ** torch.arange((TIME_FEATURES - 4) // 2, dtype=torch.float64, device=t.device)
    angles = t * frequencies
    ends = [2 * t - 1, (t <= 0).double(), (t >= 1).double(), torch.sqrt(t)]
    return torch.cat([*ends, torch.sin(angles), torch.cos(angles)], -1).float()


def row_time(t: Float[Tensor, "b *s"]) -> Float[Tensor, "b"]:
    """One time a row: the latest of its cells, for the rest are evidence."""
    return t if t.ndim == 1 else t.flatten(1).amax(1)


def convolution(dimensions: int, *args: int, **kwargs: int) -> nn.Module:
    """A convolution over 1, 2 or 3 axes."""
    return {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions](*args, **kwargs)  # type: ignore[arg-type]
