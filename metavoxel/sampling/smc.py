"""Sequential Monte Carlo: conditions of models that know no clean variable beside a noisy one.

SMCDiff (Trippe et al. 2023, "Diffusion probabilistic modeling of protein backbones in 3D for the motif-scaffolding
problem", algorithm 1), as the fully adapted auxiliary particle filter (Pitt and Shephard 1999): in an ancestral step,
known and unknown cells move independently given the state, so p(known cells at s | all states at t) is in closed form
and particles are chosen by it *before* they are moved.
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
from metavoxel.sampling.solvers import AbstractSolver, Estimate, Move
from metavoxel.sampling.trajectory import asked_times, check_finite, is_settled, nothing_observed
from metavoxel.typing import AnyCode, AnyTime, Mask

LOG_FLOOR = -1e6
"""Log-weight of a particle that cannot have led to what is known, beside one that can: never chosen, but a number."""


def particle_trajectory(
    denoiser: Denoiser,
    question: Conditional,
    grid: Float64[Tensor, "n"],
    *,
    particles: int,
    solver: AbstractSolver,
    soft_end: bool = False,
) -> Iterator[dict[str, AnyCode]]:
    """States after each ancestral step: those of all particles, row after row, and at t = 0 those of one a row.

    What is known walks along one draw of its forward process. Each step weighs a particle by the probability of the
    next state of that walk; where the effective sample size falls below half, particles are resampled. The one that is
    left is drawn by weight before the last step, which with ``soft_end`` gives its mean instead of a draw. As particles
    and steps become many, and for a perfect network, this is a draw given the evidence. A step without noise (the last
    one of a real code) has no density and weighs nothing.

    Times of noisy values join the grid, a step each: those cells are held down to their time, and sampled from there.

    Args:
        denoiser: called with ``particles`` rows for each of the question's.
        question: what is known and what is asked.
        grid: falling times from 1 to 0.
        particles: walks a row, at least 2.
        solver: of ancestral steps (``eta`` 1), whose noise is that of the walk backwards.
        soft_end: class probabilities of a category instead of its draw.

    Raises:
        NumericalError: the network, a step or a weight left the finite numbers; says which variable, step and time.
    """
    kernels, held, rows = question.kernels, question.condition_states(), len(question.rng)
    noisy = [entry.time.reshape(1) for entry in held.values() if not entry.exact]
    grid = torch.unique(torch.cat([grid, *noisy])).flip(0)
    walks = {name: forward_walk(kernels[name], held[name], grid, question.rng.fork(name, "walk")) for name in held}
    cloud, chance = _cloud(question, particles), question.rng.fork("resampling")
    known, rngs = cloud.condition_states(), cloud.streams()
    states = cloud.prior(rngs)
    observed = {name: nothing_observed(state) for name, state in states.items()}
    beliefs: dict[str, Estimate] = {}
    log_weights = torch.zeros(rows, particles, dtype=torch.float64, device=question.like.device)
    for number, (t, s) in enumerate(pairwise(grid)):
        last = number == len(grid) - 2
        for name in held:
            walk = walks[name][number].repeat_interleave(particles, 0)
            states[name] = torch.where(known[name].at(t), walk, states[name])
        moves = {
            name: Move(_times(cloud, known, name, t), _times(cloud, known, name, s), beliefs.get(name))
            for name in kernels
        }
        x0_hats = denoiser(states, {name: move.t for name, move in moves.items()}, observed)
        for name in kernels:
            if name in held or name not in question.marginal:
                check_finite(x0_hats[name], f"variable {name!r}: the network's belief", number, t)
        for name in held:
            step = solver.transition(kernels[name], x0_hats[name], states[name], moves[name])
            log_prob = step.cell_log_prob(walks[name][number + 1].repeat_interleave(particles, 0))
            log_weights = log_weights + log_weights_of(log_prob, held[name].at(s), particles)
            check_finite(log_weights, f"variable {name!r}: the weight of a particle", number, t)
        offset = chance.uniform((rows, 1), like=log_weights, dtype=torch.float64)
        if last:
            chosen, rngs = systematic(torch.softmax(log_weights, 1), offset, 1), question.streams()
        else:
            log_weights, chosen = resample(log_weights, offset)
        parents = (chosen + particles * torch.arange(rows, device=chosen.device)[:, None]).flatten()
        states, x0_hats = ({name: x[parents] for name, x in each.items()} for each in (states, x0_hats))
        moves = {name: _of_rows(move, parents) for name, move in moves.items()}
        for name, kernel in kernels.items():
            if not is_settled(cloud, name, known.get(name)):
                step = solver.transition(kernel, x0_hats[name], states[name], moves[name])
                states[name] = step.mean if soft_end and last else step.sample(rngs[name])
                check_finite(states[name], f"variable {name!r}: the state after the step", number, t)
        beliefs = {name: Estimate(x0_hats[name], move.t) for name, move in moves.items()}
        yield question.put_back(states) if last else dict(states)


def _cloud(question: Conditional, particles: int) -> Conditional:
    """The question with each of its rows as often as there are particles, every one with streams of its own."""
    keys = torch.stack([question.rng.fork("particle", index).keys for index in range(particles)], 1).flatten()
    given = {
        name: entry._replace(
            code=entry.code.repeat_interleave(particles, 0), known=entry.known.repeat_interleave(particles, 0)
        )
        for name, entry in question.given.items()
    }
    return question._replace(given=given, rng=Rng(keys))


def _of_rows(move: Move, rows: Int64[Tensor, "n"]) -> Move:
    """The same step of some rows, with what they came from."""
    before, cpu = move.before, rows.cpu()
    if before is not None:
        before = Estimate(before.x0_hat[rows], before.t[cpu])
    return Move(move.t[cpu], move.s[cpu], before)


def _times(cloud: Conditional, known: Mapping[str, ConditionState], name: str, t: Float64[Tensor, ""]) -> AnyTime:
    return asked_times(cloud, name, known.get(name), t.expand(len(cloud.rng)))


def forward_walk(kernel: AbstractKernel, held: ConditionState, grid: Float64[Tensor, "n"], rng: Rng) -> list[AnyCode]:
    """A draw of the forward process that starts from what is known, a state for every time of the (falling) grid.

    Before the time of a noisy value, the state is that of its time: it is held from there on only.
    """
    states, state, s = [], held.state, held.time
    for t in grid.flip(0):
        if t > s:
            state, s = kernel.renoise(state, s.expand(len(state)), t.expand(len(state)), rng=rng), t
        states.append(state)
    return states[::-1]


def log_weights_of(log_prob: Float[Tensor, "bk 1 *s"], known: Mask, particles: int) -> Float64[Tensor, "b k"]:
    """Log-weights from log-probabilities of every cell, of which the known ones count, each relative to its best.

    A cell that no particle gives any density has no say: that is a step without noise.
    """
    cells = log_prob.double().reshape(len(known), particles, *known.shape[1:])
    best = cells.amax(1, keepdim=True)
    relative = torch.where(torch.isneginf(best), 0.0, (cells - best).clamp_min(LOG_FLOOR))
    return torch.where(known[:, None], relative, 0.0).flatten(2).sum(2)


def resample(
    log_weights: Float64[Tensor, "b k"], offset: Float64[Tensor, "b 1"]
) -> tuple[Float64[Tensor, "b k"], Int64[Tensor, "b k"]]:
    """New log-weights, and the particle that each comes from: in rows whose effective sample size is below half."""
    particles = log_weights.shape[1]
    weights = torch.softmax(log_weights, 1)
    few = 1 / weights.square().sum(1, keepdim=True) < particles / 2
    stay = torch.arange(particles, device=weights.device)
    parents = torch.where(few, systematic(weights, offset, particles), stay)
    return torch.where(few, 0.0, log_weights), parents


def systematic(weights: Float64[Tensor, "b k"], offset: Float64[Tensor, "b 1"], count: int) -> Int64[Tensor, "b n"]:
    """Draws of particles by weight, at even distances from one random offset in (0, 1) (Kitagawa 1996, appendix)."""
    total = weights.cumsum(1)
    places = (torch.arange(count, device=weights.device) + offset) / count * total[:, -1:]
    return torch.searchsorted(total, places, right=True).clamp_max(weights.shape[1] - 1)
