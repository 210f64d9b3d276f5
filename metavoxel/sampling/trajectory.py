"""The walk from the prior to data, for every variable and every subset of evidence."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.errors import NumericalError
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditioning import AbstractConditioning
from metavoxel.sampling.evidence import ConditionState, Evidence, times_of_cells
from metavoxel.sampling.solvers import AbstractSolver, Estimate, Move
from metavoxel.typing import AnyCode, AnyMask, AnyTime, Code, Time

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
    given: Mapping[str, Evidence]
    marginal: Collection[str]
    like: Tensor
    rng: Rng

    def held(self) -> dict[str, ConditionState]:
        """What is known, as states of the walk."""
        return {name: entry.held(self.kernels[name]) for name, entry in self.given.items()}

    def streams(self) -> dict[str, Rng]:
        """Streams of every variable, by its name."""
        return {name: self.rng.fork(name) for name in self.kernels}

    def prior(self, rngs: Mapping[str, Rng]) -> dict[str, AnyCode]:
        """States at t = 1."""
        return {
            name: kernel.prior((len(self.rng), *self.shapes[name]), rng=rngs[name], like=self.like)
            for name, kernel in self.kernels.items()
        }

    def put_back(self, states: Mapping[str, AnyCode]) -> dict[str, AnyCode]:
        """States at t = 0 with the exact values among what is known put in."""
        answer = dict(states)
        for name, held in self.held().items():
            if held.exact:
                answer[name] = torch.where(held.known, held.value, answer[name])
        return answer


def sample_trajectory(
    denoiser: Denoiser,
    question: Question,
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
    kernels, held, rngs = question.kernels, question.held(), question.streams()
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


def is_settled(question: Question, name: str, held: ConditionState | None) -> bool:
    """Whether nothing of a variable is sampled: it is known exactly, or what is unknown of it is integrated out."""
    if held is None or not held.exact:
        return held is None and name in question.marginal
    return name in question.marginal or bool(held.known.all())


def asked_times(question: Question, name: str, held: ConditionState | None, times: Time) -> Time:
    """Times of a variable's cells, but 1 where what is unknown of it is integrated out."""
    if name not in question.marginal:
        return times
    return torch.ones_like(times) if held is None else times_of_cells(held.known, times, 1.0)


def enter(
    question: Question,
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


def read_out(
    denoiser: Denoiser, question: Question, *, conditioning: AbstractConditioning, evaluations: int
) -> dict[str, AnyCode]:
    """E[x_0 | evidence] of every variable: its marginal, from ``evaluations`` prior states at t = 1 and no walk.

    The mean is taken in code space: class probabilities for a category; for a real code the posterior mean, as long as
    the kernel reads out and the network was trained there.

    Raises:
        NumericalError: the network left the finite numbers; says which variable.
    """
    held, rngs = question.held(), question.streams()
    one = torch.ones((), dtype=torch.float64)
    total: dict[str, AnyCode] = {}
    for _ in range(evaluations):
        states = question.prior(rngs)
        for name, x0_hat in denoiser(*enter(question, held, states, one, conditioning, rngs)).items():
            total[name] = total[name] + x0_hat if name in total else x0_hat
    for name, sum_ in total.items():
        if not torch.isfinite(sum_).all():
            raise NumericalError(f"variable {name!r}: the network's belief is not finite at t = 1")
    return {name: sum_ / evaluations for name, sum_ in total.items()}
