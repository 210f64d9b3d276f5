"""Sequential Monte Carlo conditioning, for models with one shared time, which are not trained on clean evidence.

SMCDiff (Trippe et al. 2023, "Diffusion probabilistic modeling of protein backbones in 3D for the motif-scaffolding
problem", algorithm 1), as the fully adapted auxiliary particle filter (Pitt and Shephard 1999). The known cells y
follow one forward trajectory, y_t ~ q(y_t | y_0). In an ancestral step from t to s, known and unknown cells are
independent given the state, so the weight of particle k has a closed form,

    W_k <- W_k p(y_s | x_t^(k), y_t),                                                                            (1)

and particles are resampled by it *before* their unknown cells are drawn.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional, Denoiser
from metavoxel.sampling.evidence import ConditionState
from metavoxel.sampling.solvers import AbstractSolver, DataEstimate, Move
from metavoxel.sampling.trajectory import check_finite, is_fixed, nothing_observed, state_after, times_of
from metavoxel.typing import AnyCode, AnyTime, Mask

LOG_FLOOR = -1e6
"""Finite log-weight of a particle under which the evidence has density 0, while under another it has not."""


def particle_trajectory(
    denoiser: Denoiser,
    conditional: Conditional,
    grid: Float64[Tensor, "n"],
    *,
    particles: int,
    solver: AbstractSolver,
    soft_end: bool = False,
) -> Iterator[dict[str, AnyCode]]:
    """Yield the states after each ancestral step: those of all particles, row after row; at t = 0, of one per row.

    Particles are weighted by eq. (1), and resampled where the effective sample size falls below half their number. One
    is drawn by weight before the last step, which with ``soft_end`` returns its mean instead of a draw. With many
    particles and steps and a perfect network, the result is a draw given the evidence. A step without noise (the last
    one of a real code) has no density and leaves the weights unchanged.

    The time of a value with measurement error is added to the grid: its cells are conditioned on down to that time, and
    sampled below it.

    Args:
        denoiser: called with ``particles`` rows for each row of the conditional.
        conditional: evidence and streams.
        grid: falling times from 1 to 0.
        particles: per row, at least 2.
        solver: of ancestral steps (``eta`` 1), the reverse of the forward process.
        soft_end: whether to return class probabilities of a category instead of its draw.

    Raises:
        NumericalError: non-finite result of the network, a step or a weight; names the variable, step and time.
    """
    kernels, conditions = conditional.kernels, conditional.condition_states()
    rows = len(conditional.rng)
    noisy = [condition.time.reshape(1) for condition in conditions.values() if not condition.exact]
    grid = torch.unique(torch.cat([grid, *noisy])).flip(0)
    forward = {
        name: forward_trajectory(kernels[name], conditions[name], grid, conditional.rng.fork(name, "walk"))
        for name in conditions
    }
    cloud, resampling = _cloud(conditional, particles), conditional.rng.fork("resampling")
    known, rngs = cloud.condition_states(), cloud.streams()
    states = cloud.prior(rngs)
    observed = {name: nothing_observed(state) for name, state in states.items()}
    estimates: dict[str, DataEstimate] = {}
    log_weights = torch.zeros(rows, particles, dtype=torch.float64, device=conditional.like.device)
    for number, (t, s) in enumerate(pairwise(grid)):
        last = number == len(grid) - 2
        for name in conditions:
            state = forward[name][number].repeat_interleave(particles, 0)
            states[name] = torch.where(known[name].at(t), state, states[name])
        moves = {
            name: Move(_times(cloud, known, name, t), _times(cloud, known, name, s), estimates.get(name))
            for name in kernels
        }
        x0_hats = denoiser(states, {name: move.t for name, move in moves.items()}, observed)
        for name in kernels:
            if name in conditions or name not in conditional.marginal:
                check_finite(x0_hats[name], f"variable {name!r}: the network's estimate", number, t)
        for name in conditions:
            step = solver.transition(kernels[name], x0_hats[name], states[name], moves[name])
            log_prob = step.cell_log_prob(forward[name][number + 1].repeat_interleave(particles, 0))
            log_weights = log_weights + log_weights_of(log_prob, conditions[name].at(s), particles)
            check_finite(log_weights, f"variable {name!r}: the weight of a particle", number, t)
        offset = resampling.uniform((rows, 1), like=log_weights, dtype=torch.float64)
        if last:
            chosen, rngs = systematic(torch.softmax(log_weights, 1), offset, 1), conditional.streams()
        else:
            log_weights, chosen = resample(log_weights, offset)
        parents = (chosen + particles * torch.arange(rows, device=chosen.device)[:, None]).flatten()
        states, x0_hats = ({name: x[parents] for name, x in each.items()} for each in (states, x0_hats))
        moves = {name: _of_rows(move, parents) for name, move in moves.items()}
        for name, kernel in kernels.items():
            if not is_fixed(cloud, name, known.get(name)):
                step = solver.transition(kernel, x0_hats[name], states[name], moves[name])
                states[name] = state_after(step, kernel, rngs[name], soft=soft_end and last)
                check_finite(states[name], f"variable {name!r}: the state after the step", number, t)
        estimates = {name: DataEstimate(x0_hats[name], move.t) for name, move in moves.items()}
        yield conditional.with_exact_evidence(states) if last else dict(states)


def _cloud(conditional: Conditional, particles: int) -> Conditional:
    """Repeat every row once per particle, each with its own random streams."""
    keys = torch.stack([conditional.rng.fork("particle", index).keys for index in range(particles)], 1).flatten()
    given = {
        name: entry._replace(
            code=entry.code.repeat_interleave(particles, 0), known=entry.known.repeat_interleave(particles, 0)
        )
        for name, entry in conditional.given.items()
    }
    return conditional._replace(given=given, rng=Rng(keys))


def _of_rows(move: Move, rows: Int64[Tensor, "n"]) -> Move:
    """Select rows of a step."""
    before, cpu = move.before, rows.cpu()
    if before is not None:
        before = DataEstimate(before.x0_hat[rows], before.t[cpu])
    return Move(move.t[cpu], move.s[cpu], before)


def _times(cloud: Conditional, known: Mapping[str, ConditionState], name: str, t: Float64[Tensor, ""]) -> AnyTime:
    return times_of(cloud, name, known.get(name), t.expand(len(cloud.rng)))


def forward_trajectory(
    kernel: AbstractKernel, condition: ConditionState, grid: Float64[Tensor, "n"], rng: Rng
) -> list[AnyCode]:
    """Draw a forward trajectory from the known cells, with a state for every time of the (falling) grid.

    Below the time of a value with measurement error, where it is not conditioned on, its states stay the same.
    """
    states, state, s = [], condition.state, condition.time
    for t in grid.flip(0):
        if t > s:
            state, s = kernel.renoise(state, s.expand(len(state)), t.expand(len(state)), rng=rng), t
        states.append(state)
    return states[::-1]


def log_weights_of(log_prob: Float[Tensor, "bk 1 *s"], known: Mask, particles: int) -> Float64[Tensor, "b k"]:
    """Return eq. (1)'s log-weights: log-probabilities summed over known cells, each relative to its best particle.

    Cells without density under every particle, as in a step without noise, are left out.
    """
    cells = log_prob.double().reshape(len(known), particles, *known.shape[1:])
    best = cells.amax(1, keepdim=True)
    relative = torch.where(torch.isneginf(best), 0.0, (cells - best).clamp_min(LOG_FLOOR))
    return torch.where(known[:, None], relative, 0.0).flatten(2).sum(2)


def resample(
    log_weights: Float64[Tensor, "b k"], offset: Float64[Tensor, "b 1"]
) -> tuple[Float64[Tensor, "b k"], Int64[Tensor, "b k"]]:
    """Resample rows whose effective sample size is below half: new log-weights, and each particle's parent."""
    particles = log_weights.shape[1]
    weights = torch.softmax(log_weights, 1)
    few = 1 / weights.square().sum(1, keepdim=True) < particles / 2
    stay = torch.arange(particles, device=weights.device)
    parents = torch.where(few, systematic(weights, offset, particles), stay)
    return torch.where(few, 0.0, log_weights), parents


def systematic(weights: Float64[Tensor, "b k"], offset: Float64[Tensor, "b 1"], count: int) -> Int64[Tensor, "b n"]:
    """Draw particles by systematic resampling with one random offset in (0, 1) (Kitagawa 1996, appendix)."""
    total = weights.cumsum(1)
    places = (torch.arange(count, device=weights.device) + offset) / count * total[:, -1:]
    return torch.searchsorted(total, places, right=True).clamp_max(weights.shape[1] - 1)
