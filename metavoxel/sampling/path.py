"""The walk from the prior to data, for every variable and every subset of evidence."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.errors import NumericalError
from metavoxel.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditioning import AbstractConditioning
from metavoxel.sampling.evidence import Given
from metavoxel.sampling.solvers import AbstractSolver, Belief
from metavoxel.typing import AnyCode, AnyMask, AnyTime, Code

Denoiser = Callable[[Mapping[str, AnyCode], Mapping[str, AnyTime], Mapping[str, AnyMask]], Mapping[str, AnyCode]]
"""(states, times, observed) to E[x_0 | states] of every variable: a joint model's ``denoise``, or an exact one."""


class Question(NamedTuple):
    """A batch of rows to be answered.

    Attributes:
        kernels: of every variable.
        shapes: code shapes of every variable.
        given: what is known; variables not named are unknown in every cell.
        marginal: unknown variables that are not asked for: they stay at t = 1, integrated out by the network.
        like: any tensor on the device and in the precision to compute in.
        rng: streams of the rows.
    """

    kernels: Mapping[str, AbstractKernel]
    shapes: Mapping[str, tuple[int, ...]]
    given: Mapping[str, Given]
    marginal: Collection[str]
    like: Tensor
    rng: Rng


def denoising_path(
    denoiser: Denoiser,
    question: Question,
    grid: Float64[Tensor, "n"],
    *,
    solver: AbstractSolver,
    conditioning: AbstractConditioning,
    soft_end: bool = False,
) -> Iterator[dict[str, AnyCode]]:
    """States after each move along the grid, the last at t = 0 with what was given put back exactly.

    With ``soft_end`` the last step gives its mean instead of a draw: class probabilities of a category, given all that
    was drawn before.

    Raises:
        NumericalError: the network or a step left the finite numbers; says which variable, step and time.
    """
    kernels, given = question.kernels, question.given
    rngs = {name: question.rng.fork(name) for name in kernels}
    rows = len(question.rng)
    states = {
        name: kernel.prior((rows, *question.shapes[name]), rng=rngs[name], like=question.like)
        for name, kernel in kernels.items()
    }
    held = {name: entry for name, entry in given.items() if _is_whole(entry)}
    beliefs: dict[str, Belief] = {}
    for number, (start, stop) in enumerate(conditioning.moves(grid)):
        t, s = grid[start], grid[stop]
        moving = [name for name in kernels if name not in held and name not in question.marginal]
        if stop < start:
            for name in moving:
                states[name] = kernels[name].renoise(states[name], t.expand(rows), s.expand(rows), rng=rngs[name])
            beliefs.clear()
            continue
        entered, times, observed = enter(question, states, t, conditioning, rngs)
        x0_hats = denoiser(entered, times, observed)
        for name in moving:
            if not torch.isfinite(x0_hats[name]).all():
                raise NumericalError(
                    f"variable {name!r}: the network's belief is not finite at step {number + 1} (t = {t:.4g})"
                )
            move = solver.transition(kernels[name], x0_hats[name], entered[name], t, s, beliefs.get(name))
            beliefs[name] = Belief(x0_hats[name], t)
            states[name] = move.mean if soft_end and stop == len(grid) - 1 else move.sample(rngs[name])
        if stop == len(grid) - 1:
            states = {name: _put_back(state, given.get(name)) for name, state in states.items()}
        yield dict(states)


def enter(
    question: Question,
    states: Mapping[str, AnyCode],
    t: Float64[Tensor, ""],
    conditioning: AbstractConditioning,
    rngs: Mapping[str, Rng],
) -> tuple[dict[str, AnyCode], dict[str, AnyTime], dict[str, AnyMask]]:
    """What the network sees when the unknown variables are at time t."""
    entered: dict[str, AnyCode] = {}
    times: dict[str, AnyTime] = {}
    observed: dict[str, AnyMask] = {}
    for name, state in states.items():
        time = torch.ones_like(t) if name in question.marginal else t
        if name in question.given:
            kernel, entry = question.kernels[name], question.given[name]
            entered[name], times[name], observed[name] = conditioning.enter(kernel, state, entry, time, rngs[name])
        else:
            entered[name], times[name] = state, time.expand(len(state))
            observed[name] = torch.zeros(len(state), 1, *state.shape[2:], dtype=torch.bool, device=state.device)
    return entered, times, observed


def _is_whole(given: Given) -> bool:
    """Whether nothing of the variable is left to sample."""
    return bool(given.known.all())


def _put_back(state: Code, given: Given | None) -> Code:
    return state if given is None or given.sd is not None else torch.where(given.known, given.code, state)


def read_out(
    denoiser: Denoiser, question: Question, *, conditioning: AbstractConditioning, evaluations: int
) -> dict[str, AnyCode]:
    """E[x_0 | evidence] of every variable: its marginal, from ``evaluations`` prior states at t = 1 and no walk.

    The mean is taken in code space: class probabilities for a category; for a real code the posterior mean, as long as
    the kernel leaves no signal at t = 1 and the network was trained there.
    """
    rngs = {name: question.rng.fork(name) for name in question.kernels}
    one = torch.ones((), dtype=torch.float64)
    total: dict[str, AnyCode] = {}
    for _ in range(evaluations):
        states = {
            name: kernel.prior((len(question.rng), *question.shapes[name]), rng=rngs[name], like=question.like)
            for name, kernel in question.kernels.items()
        }
        for name, x0_hat in denoiser(*enter(question, states, one, conditioning, rngs)).items():
            total[name] = total[name] + x0_hat if name in total else x0_hat
    for name, sum_ in total.items():
        if not torch.isfinite(sum_).all():
            raise NumericalError(f"variable {name!r}: the network's belief is not finite at t = 1")
    return {name: sum_ / evaluations for name, sum_ in total.items()}
