"""Samples of p(unknown | given), in batches that fit in memory and do not affect the draws."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

import torch

from metavoxel.rng import Rng, stream_key
from metavoxel.sampling.bounds import Bounds, drawn_within
from metavoxel.sampling.conditional import Denoiser, JointDenoiser, batches, joined, rows_per_batch
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.held import FINE_STEPS, AbstractCorrectedDenoiser, HeldCorrection, evaluated_steps
from metavoxel.sampling.settings import Sampling
from metavoxel.sampling.times import time_grid
from metavoxel.typing import AnyCode, AnyMask, AnyTime


def row_streams(seed: int, keys: Sequence[str], draw: int) -> Rng:
    """Return the random streams of rows, from (seed, row key, draw number); variables fork them by name."""
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
    """Draw once per row from p(unknown | given), for all unknown variables but those integrated out.

    Args:
        model: joint denoiser.
        given: evidence of every row.
        rng: streams of the rows.
        sampling: settings.
        marginal: unknown variables that are integrated out; their states have no meaning.
        soft_end: whether to return the class probabilities of a category's last step instead of its draw.
        bounds: of scalars; rows with a value outside are redrawn (:func:`metavoxel.sampling.bounds.drawn_within`).

    Raises:
        EvidenceError: guidance is not defined for this evidence.
        NumericalError: non-finite result of the network, a step or a particle weight.
    """

    def draw(known: Mapping[str, Evidence], rng: Rng) -> tuple[dict[str, AnyCode], ...]:
        return (_last_states(model, known, rng, sampling, marginal, soft_end),)

    drawn_bounds = {name: interval for name, interval in bounds.items() if name not in marginal}
    return drawn_within(draw, given, rng, drawn_bounds)[0]


def _last_states(
    model: JointDenoiser,
    given: Mapping[str, Evidence],
    rng: Rng,
    sampling: Sampling,
    marginal: Collection[str],
    soft_end: bool,
) -> dict[str, AnyCode]:
    """Return the final states of one trajectory per row."""
    unknown = [kernel for name, kernel in model.kernels.items() if name not in given and name not in marginal]
    corrected = model if sampling.holds and isinstance(model, AbstractCorrectedDenoiser) else None
    if corrected is not None and not model.kernels.keys() - set(marginal) <= set(corrected.with_baseline):
        corrected = None
    steps = sampling.steps if corrected is None else FINE_STEPS
    grid = time_grid(sampling.grid, steps, unknown or list(model.kernels.values()))
    drawn: dict[str, list[AnyCode]] = {name: [] for name in model.kernels}
    denoiser: Denoiser = in_batches(model.denoise, rows_per_batch(model))
    for _, conditional in batches(model, given, rng, marginal=marginal, rows_per_row=sampling.rows_per_row):
        if corrected is not None:
            evaluated = evaluated_steps(sampling.steps, steps)
            denoiser = HeldCorrection(model.denoise, corrected.denoise_baseline, model.kernels, evaluated)
        trajectory = sampling.trajectory(denoiser, conditional, grid, soft_end=soft_end)
        for name, state in deque(trajectory, maxlen=1).pop().items():
            drawn[name].append(state)
    return joined(drawn, model)


def in_batches(denoiser: Denoiser, size: int) -> Denoiser:
    """Return the denoiser evaluated in batches of at most ``size`` rows."""

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
