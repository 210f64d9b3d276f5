"""Classifier-free guidance (Ho and Salimans 2022) from the joint model's own marginals."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.sampling.conditional import Conditional, Denoiser
from metavoxel.sampling.evidence import times_of_cells
from metavoxel.typing import AnyCode, AnyMask, AnyTime, Code


def guided(denoiser: Denoiser, question: Conditional, weight: float) -> Denoiser:
    """The denoiser with its beliefs moved away from what it would believe without the evidence; itself at ``weight`` 0.

    Both beliefs come from one call with twice the rows: in the second half, known variables are unknown, at t = 1 in
    states of the prior that are the same throughout the walk.

    Args:
        denoiser: of a model that was trained with absent variables.
        question: with its evidence held clean.
        weight: 0 for none, -1 for the marginal; see :func:`guide`.

    Raises:
        EvidenceError: a variable known in part, or with an error, or whose beliefs are no numbers nor probabilities.
    """
    if weight == 0:
        return denoiser
    held = question.condition_states()
    problems = [
        Problem(
            f"given {name}",
            "is known in part, and guidance takes evidence away by the variable: give all of it, or leave guidance out",
        )
        for name, entry in held.items()
        if not torch.equal(entry.known.flatten(1).any(1), entry.known.flatten(1).all(1))
    ]
    problems += [
        Problem(
            f"given {name}",
            "is known with an error (±), and guidance takes evidence away by the variable: leave one of the two out",
        )
        for name, entry in held.items()
        if not entry.exact
    ]
    problems += [
        Problem(name, f"guidance knows no way to move beliefs of kernel {kernel.type!r}; leave it out")
        for name, kernel in question.kernels.items()
        if not kernel.is_gaussian and kernel.support != "one_hot"
    ]
    if problems:
        raise EvidenceError(problems)
    prior = question.prior({name: question.rng.fork(name, "guidance") for name in question.kernels})

    def denoise(
        states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> dict[str, AnyCode]:
        hidden = {name: torch.where(entry.known, prior[name], states[name]) for name, entry in held.items()}
        late = {name: times_of_cells(~entry.known, times[name], 1.0) for name, entry in held.items()}
        unseen = {name: torch.zeros_like(observed[name]) for name in held}
        x0_hats = denoiser(_doubled(states, hidden), _doubled(times, late), _doubled(observed, unseen))
        rows = len(question.rng)
        return {
            name: guide(question.kernels[name], x0_hat[:rows], x0_hat[rows:], weight)
            for name, x0_hat in x0_hats.items()
        }

    return denoise


def _doubled(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows of the first after which they come again, with those of the second in their place where there are."""
    return {name: torch.cat([rows, second.get(name, rows)]) for name, rows in first.items()}


def guide(kernel: AbstractKernel, conditional: Code, marginal: Code, weight: float) -> Code:
    """c + weight (c - m); for probabilities that of their logarithms, scaled to sum to 1."""
    if kernel.is_gaussian:
        return conditional + weight * (conditional - marginal)
    tiny = torch.finfo(conditional.dtype).tiny
    log_c, log_m = (torch.log(belief.clamp_min(tiny)) for belief in (conditional, marginal))
    return torch.softmax(log_c + weight * (log_c - log_m), 1)
