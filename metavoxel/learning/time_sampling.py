"""Which times a training row has: the law that decides what the model can be asked later."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from metavoxel.rng import Rng


class RowTimes(NamedTuple):
    """Times of the variables of each row, and which of them are evidence (clean, t = 0)."""

    t: Float64[Tensor, "b v"]
    observed: Bool[Tensor, "b v"]


READ_OUT_SHARE = 0.5
GRID_READ_OUT_SHARE = 0.25
"""Of rows that pass through grids beside others that do not: those teach the read-out of scalars at less cost."""
SINGLE_TARGET_SHARE = 0.3
NO_EVIDENCE_SHARE = 0.1
MARGINAL_SHARE = 0.5
SHARED_SHARE = 0.5


def shared_times(present: Bool[Tensor, "b v"], rng: Rng) -> RowTimes:
    """The paper's: one uniform time for all variables of a row, nothing observed. Of complete rows."""
    t = rng.uniform((len(present), 1), dtype=torch.float64).expand(present.shape)
    return RowTimes(t, torch.zeros_like(present))


def evidence_times(
    present: Bool[Tensor, "b v"],
    rng: Rng,
    *,
    read_out: float | Float[Tensor, "b"] = READ_OUT_SHARE,
    power: float = 1.0,
    questions: Bool[Tensor, "q v"] | None = None,
    question_share: float = 0.5,
    draw_share: float = 0.0,
    names: Sequence[str] | None = None,
) -> RowTimes:
    """Clean, absent and noisy variables in every combination, with the corners that users ask for made frequent.

    Per row: an evidence set among the present variables (all but one with chance .3, none with chance .1, else of
    uniform size); with chance ``read_out`` every unknown is at t = 1, which is the one-evaluation read-out; else, with
    chance .5, a random part of the unknowns is at t = 1 and the rest have a time between, one for all or one each. With
    chance ``draw_share`` instead, all unknowns have one time between, as a draw of them meets it. A variable that is
    absent is at t = 1.

    Args:
        present: which data there are.
        rng: of the rows.
        read_out: chance, one a row or one for all.
        power: of a uniform number that a time between is: above 1, more of them are little noisy.
        questions: evidence sets, one of which ``question_share`` of the rows take, as far as they have it.
        question_share: of these rows.
        draw_share: of rows that teach to draw and nothing else.
        names: of the variables, by which each has its own draws: how large a part of a row is evidence depends on all,
            but a time between is the same whatever other variables there are. Their numbers by default.
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
        asked = present & questions[(pick[:, 1] * len(questions)).floor().long()]
        observed = torch.where((pick[:, 0] < question_share)[:, None], asked, observed)
        rank = torch.where(observed, -1.0, order).argsort(1).argsort(1)
        size = observed.sum(1)
    unknown = (count - size).clamp_min(1)
    marginal_size = (rng.uniform((rows,), dtype=torch.float64) * unknown).floor().long()
    marginal_size = torch.where(chance[:, 2] < MARGINAL_SHARE, marginal_size, 0)
    marginal = rank < (size + marginal_size)[:, None]
    marginal = marginal | (chance[:, 3] < read_out)[:, None]
    together = chance[:, 4] < SHARED_SHARE
    if draw_share:
        draws = rng.uniform((rows,), dtype=torch.float64) < draw_share
        marginal, together = marginal & ~draws[:, None], together | draws
    marginal = marginal | ~present
    noisy = torch.where(together[:, None], chance[:, 5:], own[:, :, 1]) ** power
    t = torch.where(marginal, torch.ones_like(noisy), noisy)
    return RowTimes(torch.where(observed, torch.zeros_like(t), t), observed)
