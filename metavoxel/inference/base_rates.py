"""Prior shift: class probabilities under other base rates than those of the training rows."""

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams
from metavoxel.typing import AnyCode

ROWS = 16
"""Number of prior states that the model's base rates are averaged over."""


def base_rates(model: JointDenoiser, name: str, *, seed: int) -> Float[Tensor, "k"]:
    """Return the model's marginal probabilities of a category: its posterior mean without evidence."""
    rng = row_streams(seed, [f"base rates {row}" for row in range(ROWS)], 0)
    return posterior_mean(model, {}, rng, evaluations=1, names=[name])[name].double().mean(0)


def shifted(probabilities: AnyCode, ratio: Float[Tensor, "k"]) -> AnyCode:
    """Return p'(k | e), proportional to p(k | e) p'(k) / p(k) (Saerens et al. 2002, eq. 2.4).

    Exact if the populations differ in the base rates p(k), and not in p(e | k).

    Args:
        probabilities: p(k | e) of each row, classes on dimension 1.
        ratio: p'(k) / p(k).
    """
    factors = ratio.to(probabilities).reshape(1, -1, *[1] * (probabilities.ndim - 2))
    weighted = probabilities * factors
    total = weighted.sum(1, keepdim=True)
    # Where all probability was on excluded classes, the others have underflowed to 0: uniform over them
    uniform = (factors > 0).to(weighted).expand_as(weighted)
    return torch.where(total > 0, weighted, uniform) / torch.where(total > 0, total, uniform.sum(1, keepdim=True))
