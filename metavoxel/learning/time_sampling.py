"""Sample the diffusion time of each variable and the conditioning mask of each training row."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from metavoxel.rng import Rng


class RowTimes(NamedTuple):
    """Diffusion times of each row's variables, and the mask of evidence (clean, t = 0)."""

    t: Float64[Tensor, "b v"]
    observed: Bool[Tensor, "b v"]


PURE_NOISE_SHARE = 0.5
"""Share of rows with all unknown variables at t = 1, where the prediction is the posterior mean."""
GRID_PURE_NOISE_SHARE = 0.25
"""The same for rows that pass through grids, if token rows train the posterior means of scalars at less cost."""
EVEN_PURE_NOISE = 0.2
"""Share of the rows of pure noise in which a variable with even steps is at t = 1."""
SINGLE_TARGET_SHARE = 0.3
"""Share of rows with a single unknown variable, given all others."""
NO_EVIDENCE_SHARE = 0.1
"""Share of rows without any evidence."""
MARGINAL_SHARE = 0.5
"""Share of the other rows in which a random subset of the unknown variables is at t = 1."""
SHARED_SHARE = 0.5
"""Share of rows whose intermediate times are equal, as in sampling."""


def shared_times(present: Bool[Tensor, "b v"], rng: Rng) -> RowTimes:
    """Sample one uniform time for all variables of a complete row, none observed (as in MetaVoxel)."""
    t = rng.uniform((len(present), 1), dtype=torch.float64).expand(present.shape)
    return RowTimes(t, torch.zeros_like(present))


def evidence_times(
    present: Bool[Tensor, "b v"],
    rng: Rng,
    *,
    pure_noise: float | Float[Tensor, "b"] = PURE_NOISE_SHARE,
    power: float = 1.0,
    even: Bool[Tensor, "v"] | None = None,
    questions: Bool[Tensor, "q v"] | None = None,
    question_share: float = 0.5,
    draw_share: float = 0.0,
    names: Sequence[str] | None = None,
) -> RowTimes:
    """Sample times and conditioning masks over all subsets of variables, oversampling the most common conditionals.

    Each row has an evidence set among its present variables: all but one with probability .3, none with probability .1,
    else of uniform size. With probability ``pure_noise`` all unknown variables are at t = 1, where the prediction is
    the posterior mean. Otherwise, with probability .5, a random subset of them is at t = 1, and the rest have
    intermediate times, shared or independent. With probability ``draw_share`` instead, all unknown variables share one
    intermediate time, as in sampling. Missing variables are at t = 1.

    Args:
        present: variables present in each row.
        rng: random streams of the rows.
        pure_noise: probability of posterior-mean rows, one for all or one per row.
        power: exponent of the uniform variate that gives an intermediate time; above 1, low noise is more frequent.
        even: variables whose kernel has ``even_steps``. Their intermediate times are uniform, and they are at t = 1 in
            a fifth of the rows of ``pure_noise``: draws pass through all times, and no mean of theirs is predicted.
        questions: evidence sets, of which ``question_share`` of the rows use one, restricted to present variables.
        question_share: probability of using one of ``questions``.
        draw_share: probability of rows for joint sampling alone.
        names: names of the variables, which key their random streams, so that intermediate times do not depend on the
            other variables; evidence sizes do. Indices by default.
    """
    rows, variables = present.shape
    chance = rng.uniform((rows, 6), dtype=torch.float64)
    streams = rng.forks([str(number) for number in range(variables)] if names is None else names)
    own = streams.uniform((rows * variables, 2), dtype=torch.float64).reshape(rows, variables, 2)
    order = torch.where(present, own[:, :, 0], 2.0)
    rank = order.argsort(1).argsort(1)
    count = present.sum(1)
    size = (chance[:, 0] * count).floor().long()
    size = torch.where(chance[:, 1] < SINGLE_TARGET_SHARE, count - 1, size)
    size = torch.where(chance[:, 1] > 1 - NO_EVIDENCE_SHARE, 0, size).clamp_min(0)
    observed = present & (rank < size[:, None])
    if questions is not None:
        pick = rng.uniform((rows, 2), dtype=torch.float64)
        evidence = present & questions[(pick[:, 1] * len(questions)).floor().long()]
        observed = torch.where((pick[:, 0] < question_share)[:, None], evidence, observed)
        rank = torch.where(observed, -1.0, order).argsort(1).argsort(1)
        size = observed.sum(1)
    unknown = (count - size).clamp_min(1)
    marginal_size = (rng.uniform((rows,), dtype=torch.float64) * unknown).floor().long()
    marginal_size = torch.where(chance[:, 2] < MARGINAL_SHARE, marginal_size, 0)
    marginal = rank < (size + marginal_size)[:, None]
    even = torch.zeros(variables, dtype=torch.bool) if even is None else even
    share = torch.as_tensor(pure_noise).double().expand(rows)[:, None] * torch.where(even, EVEN_PURE_NOISE, 1.0)
    marginal = marginal | (chance[:, 3:4] < share)
    shared = chance[:, 4] < SHARED_SHARE
    if draw_share:
        joint = rng.uniform((rows,), dtype=torch.float64) < draw_share
        marginal, shared = marginal & ~joint[:, None], shared | joint
    marginal = marginal | ~present
    uniform = torch.where(shared[:, None], chance[:, 5:], own[:, :, 1])
    noisy = torch.where(even, uniform, uniform**power)
    t = torch.where(marginal, torch.ones_like(noisy), noisy)
    return RowTimes(torch.where(observed, torch.zeros_like(t), t), observed)
