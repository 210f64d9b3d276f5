"""Sampling trajectories from the prior to the data, for all variables and any subset of evidence.

On a grid of times 1 = t_0 > ... > t_n = 0, every variable v has a state x_t^v. A step from t to s < t is

    x0_hat = E[x_0 | all states and evidence]       one call of the denoiser,                                    (1)
    x_s^v ~ p(x_s^v | x_t^v, x0_hat^v)              by the solver, for each variable.                            (2)

Given the states, (2) treats variables and cells as independent; the error vanishes as steps become small. A renoising
step, from s to t > s, draws x_t^v ~ q(x_t^v | x_s^v).

Times differ between cells in two cases. Cells with evidence have the time of the conditioning method, 0 if given clean
(:mod:`metavoxel.sampling.conditioning`). Unknown cells of a marginal variable stay at t = 1: a state without signal
leaves E[x_0 | states] of the other variables unchanged, so this one is integrated out.
"""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.errors import NumericalError
from metavoxel.parts.kernels.base import AbstractKernel, AbstractTransition
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional, Denoiser
from metavoxel.sampling.conditioning import AbstractConditioning
from metavoxel.sampling.evidence import ConditionState, times_of_cells
from metavoxel.sampling.solvers import AbstractSolver, DataEstimate, Move
from metavoxel.typing import AnyCode, AnyMask, AnyTime, Code, Time


def sample_trajectory(
    denoiser: Denoiser,
    conditional: Conditional,
    grid: Float64[Tensor, "n"],
    *,
    solver: AbstractSolver,
    conditioning: AbstractConditioning,
    soft_end: bool = False,
    own: Mapping[str, Float64[Tensor, "n"]] | None = None,
) -> Iterator[dict[str, AnyCode]]:
    """Yield the states after each denoising step along the grid; the last at t = 0, with exact evidence restored.

    With ``soft_end`` the last step returns its mean instead of a draw: class probabilities of a category. Codes held as
    indices are drawn at all steps. Variables in ``own`` have a grid of their own, of as many times.

    Raises:
        NumericalError: non-finite result of the network or a step; names the variable, step and time.
    """
    kernels, conditions, rngs = conditional.kernels, conditional.condition_states(), conditional.streams()
    states = conditional.prior(rngs)
    sampled = [name for name in kernels if not is_fixed(conditional, name, conditions.get(name))]
    estimates: dict[str, DataEstimate] = {}

    grids = {name: (own or {}).get(name, grid) for name in kernels}

    def times_at(name: str, place: int) -> Time:
        return times_of(conditional, name, conditions.get(name), grids[name][place].expand(len(conditional.rng)))

    for number, (start, stop) in enumerate(conditioning.moves(grid)):
        t = grid[start]
        if stop < start:
            for name in sampled:
                states[name] = kernels[name].renoise(
                    states[name], times_at(name, start), times_at(name, stop), rng=rngs[name]
                )
            estimates.clear()
            continue
        at = {name: times[start] for name, times in grids.items()}
        entered, times, observed = enter(conditional, conditions, states, at, conditioning, rngs)
        x0_hats = denoiser(entered, times, observed)
        for name in sampled:
            check_finite(x0_hats[name], f"variable {name!r}: the network's estimate", number, t)
            move = Move(times_at(name, start), times_at(name, stop), estimates.get(name))
            xt = conditioning.start_of_step(states[name], entered[name])
            transition = solver.transition(kernels[name], x0_hats[name], xt, move)
            estimates[name] = DataEstimate(x0_hats[name], move.t)
            soft = soft_end and stop == len(grid) - 1
            states[name] = state_after(transition, kernels[name], rngs[name], soft=soft)
            check_finite(states[name], f"variable {name!r}: the state after the step", number, t)
        yield conditional.with_exact_evidence(states) if stop == len(grid) - 1 else dict(states)


def state_after(transition: AbstractTransition, kernel: AbstractKernel, rng: Rng, *, soft: bool) -> AnyCode:
    """Return a draw of the state after a step or, if ``soft``, its mean, which codes held as indices do not have."""
    return transition.mean if soft and not kernel.indexed else transition.sample(rng)


def check_finite(x: Tensor, what: str, number: int, t: Float64[Tensor, ""]) -> None:
    """Check that all numbers of a step are finite.

    Raises:
        NumericalError: they are not; gives ``what`` they are, the step (counted from 0) and its time.
    """
    if not torch.isfinite(x).all():
        raise NumericalError(f"{what} is not finite at step {number + 1} (t = {t:.4g})")


def is_fixed(conditional: Conditional, name: str, condition: ConditionState | None) -> bool:
    """Return whether no cell of a variable is sampled: all are known exactly or integrated out."""
    if condition is None or not condition.exact:
        return condition is None and name in conditional.marginal
    return name in conditional.marginal or bool(condition.known.all())


def times_of(conditional: Conditional, name: str, condition: ConditionState | None, times: Time) -> Time:
    """Return the times of a variable's cells: ``times``, but 1 in cells that are integrated out."""
    if name not in conditional.marginal:
        return times
    return torch.ones_like(times) if condition is None else times_of_cells(condition.known, times, 1.0)


def enter(
    conditional: Conditional,
    conditions: Mapping[str, ConditionState],
    states: Mapping[str, AnyCode],
    at: Mapping[str, Float64[Tensor, ""]],
    conditioning: AbstractConditioning,
    rngs: Mapping[str, Rng],
) -> tuple[dict[str, AnyCode], dict[str, AnyTime], dict[str, AnyMask]]:
    """Return the denoiser's inputs (states, times, observed), with evidence; unknown variables are at their times."""
    entered: dict[str, AnyCode] = {}
    times: dict[str, AnyTime] = {}
    observed: dict[str, AnyMask] = {}
    for name, state in states.items():
        if name in conditions:
            part = conditioning.enter(conditional.kernels[name], state, conditions[name], at[name], rngs[name])
            entered[name], observed[name] = part.state, part.observed
            times[name] = times_of(conditional, name, conditions[name], part.time)
        else:
            entered[name], observed[name] = state, nothing_observed(state)
            times[name] = times_of(conditional, name, None, at[name].expand(len(state)))
    return entered, times, observed


def nothing_observed(state: Code) -> AnyMask:
    """Return the mask of no cell of a state."""
    return torch.zeros(len(state), 1, *state.shape[2:], dtype=torch.bool, device=state.device)
