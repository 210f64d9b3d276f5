"""Features of diffusion times, and convolutions by number of axes."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

TIME_FEATURES = 16


def time_features(t: Float[Tensor, "*b"]) -> Float[Tensor, "*b f"]:
    """Return features of a time in [0, 1]: linear, square root, indicators of 0 and 1, and sinusoids.

    The bounds have indicators because inference evaluates the network there: t = 0 is evidence, t = 1 is unknown.
    """
    t = t[..., None].double()
    frequencies = math.pi * 2.0 ** torch.arange((TIME_FEATURES - 4) // 2, dtype=torch.float64, device=t.device)
    angles = t * frequencies
    plain = [2 * t - 1, (t <= 0).double(), (t >= 1).double(), torch.sqrt(t)]
    return torch.cat([*plain, torch.sin(angles), torch.cos(angles)], -1).float()


def row_time(t: Float[Tensor, "b *s"]) -> Float[Tensor, "b"]:
    """Return one time per row: the latest of its cells, as the others are evidence."""
    return t if t.ndim == 1 else t.flatten(1).amax(1)
