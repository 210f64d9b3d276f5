"""Samples of p(unknown | given): batches bounded by memory, and draws that do not depend on them."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

import torch

from metavoxel.rng import Rng, stream_key
from metavoxel.sampling.bounds import Bounds, drawn_within
from metavoxel.sampling.conditional import Denoiser, JointDenoiser, batches, joined, rows_a_batch
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.settings import Sampling
from metavoxel.sampling.times import time_grid
from metavoxel.typing import AnyCode, AnyMask, AnyTime


def row_streams(seed: int, keys: Sequence[str], draw: int) -> Rng:
    """Random streams of rows: of (seed, row key, draw), forked for each variable by its name."""
    return Rng.of([stream_key(seed, key, draw) for key in keys])


@torch.inference_mode()
def sample_codes(
    model: JointDenoiser,
    given: Mapping[str, Evidence],
    rng: Rng,
    sampling: Sampling,
    *,
    marginal: Collection[str] = (),
    soft_end: bool = False,
    bounds: Mapping[str, Bounds] = {},
) -> dict[str, AnyCode]:
    """One draw a row of every unknown variable that is not ``marginal``, from p(unknown | given).

    With ``soft_end`` a category is left as the class probabilities that it would be drawn from. Rows in which a number
    is drawn outside its ``bounds`` are drawn anew (:func:`metavoxel.sampling.bounds.drawn_within`).

    Raises:
        EvidenceError: guidance of a question that it does not suit.
        NumericalError: the network, a step or a weight left the finite numbers.
    """

    def draw(known: Mapping[str, Evidence], rng: Rng) -> tuple[dict[str, AnyCode], ...]:
        return (_last_states(model, known, rng, sampling, marginal, soft_end),)

    within = {name: ends for name, ends in bounds.items() if name not in marginal}
    return drawn_within(draw, given, rng, within)[0]


def _last_states(
    model: JointDenoiser,
    given: Mapping[str, Evidence],
    rng: Rng,
    sampling: Sampling,
    marginal: Collection[str],
    soft_end: bool,
) -> dict[str, AnyCode]:
    """The last state of one trajectory of each row."""
    unknown = [kernel for name, kernel in model.kernels.items() if name not in given and name not in marginal]
    grid = time_grid(sampling.grid, sampling.steps, unknown or list(model.kernels.values()))
    drawn: dict[str, list[AnyCode]] = {name: [] for name in model.kernels}
    denoiser = in_batches(model.denoise, rows_a_batch(model))
    for _, conditional in batches(model, given, rng, marginal=marginal, rows_a_row=sampling.rows_a_row):
        trajectory = sampling.trajectory(denoiser, conditional, grid, soft_end=soft_end)
        for name, state in deque(trajectory, maxlen=1).pop().items():
            drawn[name].append(state)
    return joined(drawn, model)


def in_batches(denoiser: Denoiser, size: int) -> Denoiser:
    """The same denoiser, called with no more rows than so many at once."""

    def denoise(
        states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> Mapping[str, AnyCode]:
        rows = len(next(iter(states.values())))
        if rows <= size:
            return denoiser(states, times, observed)
        parts = [
            denoiser(
                *({name: x[start : start + size] for name, x in each.items()} for each in (states, times, observed))
            )
            for start in range(0, rows, size)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    return denoise
