"""Other base rates than the training rows had: class probabilities where a category is rarer or commoner."""

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams
from metavoxel.typing import AnyCode

ROWS = 16
"""Prior states that the model's own base rates are averaged over."""


def base_rates(model: JointDenoiser, name: str, *, seed: int) -> Float[Tensor, "k"]:
    """The model's own probabilities of a category: its read-out with no evidence, in one evaluation of a few rows."""
    rng = row_streams(seed, [f"base rates {row}" for row in range(ROWS)], 0)
    return posterior_mean(model, {}, rng, evaluations=1, names=[name])[name].double().mean(0)


def shifted(probabilities: AnyCode, ratio: Float[Tensor, "k"]) -> AnyCode:
    """p'(k | e), proportional to p(k | e) p'(k) / p(k): Bayes' rule with other base rates (Saerens et al. 2002, 2.4).

    Right where the new population differs in how frequent the classes are, and not in what goes with each.

    Args:
        probabilities: p(k | e) of each row, classes on dimension 1.
        ratio: p'(k) / p(k).
    """
    factors = ratio.to(probabilities).reshape(1, -1, *[1] * (probabilities.ndim - 2))
    weighted = probabilities * factors
    total = weighted.sum(1, keepdim=True)
    # Where only excluded classes seemed possible, rounding has left nothing to tell the others apart.
    alike = (factors > 0).to(weighted).expand_as(weighted)
    return torch.where(total > 0, weighted, alike) / torch.where(total > 0, total, alike.sum(1, keepdim=True))
