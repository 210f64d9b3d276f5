"""The walk from the prior to data, for every variable and every subset of evidence."""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.errors import NumericalError
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional, Denoiser
from metavoxel.sampling.conditioning import AbstractConditioning
from metavoxel.sampling.evidence import ConditionState, times_of_cells
from metavoxel.sampling.solvers import AbstractSolver, Estimate, Move
from metavoxel.typing import AnyCode, AnyMask, AnyTime, Code, Time


def sample_trajectory(
    denoiser: Denoiser,
    question: Conditional,
    grid: Float64[Tensor, "n"],
    *,
    solver: AbstractSolver,
    conditioning: AbstractConditioning,
    soft_end: bool = False,
) -> Iterator[dict[str, AnyCode]]:
    """States after each move along the grid, the last at t = 0 with what was given exactly put back.

    With ``soft_end`` the last step gives its mean instead of a draw: class probabilities of a category, given all that
    was drawn before.

    Raises:
        NumericalError: the network or a step left the finite numbers; says which variable, step and time.
    """
    kernels, held, rngs = question.kernels, question.condition_states(), question.streams()
    states = question.prior(rngs)
    moving = [name for name in kernels if not is_settled(question, name, held.get(name))]
    beliefs: dict[str, Estimate] = {}

    def walked(name: str, t: Float64[Tensor, ""]) -> Time:
        return asked_times(question, name, held.get(name), t.expand(len(question.rng)))

    for number, (start, stop) in enumerate(conditioning.moves(grid)):
        t, s = grid[start], grid[stop]
        if stop < start:
            for name in moving:
                states[name] = kernels[name].renoise(states[name], walked(name, t), walked(name, s), rng=rngs[name])
            beliefs.clear()
            continue
        entered, times, observed = enter(question, held, states, t, conditioning, rngs)
        x0_hats = denoiser(entered, times, observed)
        for name in moving:
            check_finite(x0_hats[name], f"variable {name!r}: the network's belief", number, t)
            move = Move(walked(name, t), walked(name, s), beliefs.get(name))
            xt = conditioning.moved(states[name], entered[name])
            transition = solver.transition(kernels[name], x0_hats[name], xt, move)
            beliefs[name] = Estimate(x0_hats[name], move.t)
            states[name] = transition.mean if soft_end and stop == len(grid) - 1 else transition.sample(rngs[name])
            check_finite(states[name], f"variable {name!r}: the state after the step", number, t)
        yield question.put_back(states) if stop == len(grid) - 1 else dict(states)


def check_finite(x: Tensor, what: str, number: int, t: Float64[Tensor, ""]) -> None:
    """Stop at a step whose numbers are not finite.

    Raises:
        NumericalError: ``what`` it was, which step (counted from 0) and which time.
    """
    if not torch.isfinite(x).all():
        raise NumericalError(f"{what} is not finite at step {number + 1} (t = {t:.4g})")


def is_settled(question: Conditional, name: str, held: ConditionState | None) -> bool:
    """Whether nothing of a variable is sampled: it is known exactly, or what is unknown of it is integrated out."""
    if held is None or not held.exact:
        return held is None and name in question.marginal
    return name in question.marginal or bool(held.known.all())


def asked_times(question: Conditional, name: str, held: ConditionState | None, times: Time) -> Time:
    """Times of a variable's cells, but 1 where what is unknown of it is integrated out."""
    if name not in question.marginal:
        return times
    return torch.ones_like(times) if held is None else times_of_cells(held.known, times, 1.0)


def enter(
    question: Conditional,
    held: Mapping[str, ConditionState],
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
        if name in held:
            part = conditioning.enter(question.kernels[name], state, held[name], t, rngs[name])
            entered[name], observed[name] = part.state, part.observed
            times[name] = asked_times(question, name, held[name], part.time)
        else:
            entered[name], observed[name] = state, nothing_observed(state)
            times[name] = asked_times(question, name, None, t.expand(len(state)))
    return entered, times, observed


def nothing_observed(state: Code) -> AnyMask:
    """A mask of no cell of a state."""
    return torch.zeros(len(state), 1, *state.shape[2:], dtype=torch.bool, device=state.device)
