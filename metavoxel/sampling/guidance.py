"""Classifier-free guidance (Ho and Salimans 2022, eq. 6) from the joint model's own marginals.

With estimates c given the evidence and m without it, and weight w, the guided estimate of x_0 is

    c + w (c - m)                          for a Gaussian kernel,                                                (1)
    softmax(log c + w (log c - log m))     for class probabilities.                                              (2)

The paper's eq. 6 is for noise estimates, which are affine in those of x_0, so that (1) is the same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.sampling.conditional import Conditional, Denoiser
from metavoxel.sampling.evidence import times_of_cells
from metavoxel.typing import AnyCode, AnyMask, AnyTime, Code


def guided(denoiser: Denoiser, conditional: Conditional, weight: float) -> Denoiser:
    """Return the denoiser with guidance; the denoiser itself for ``weight`` 0.

    Both estimates come from one call with twice the rows: in the second half known variables are at t = 1, in prior
    states that stay the same along the trajectory.

    Args:
        denoiser: of a model trained with absent variables.
        conditional: with clean evidence.
        weight: w of eq. (1); 0 is no guidance, -1 the marginal.

    Raises:
        EvidenceError: a variable is known in part or with an error, or its kernel is neither Gaussian nor one-hot.
    """
    if weight == 0:
        return denoiser
    conditions = conditional.condition_states()
    problems = [
        Problem(
            f"given {name}",
            "is known in part, but guidance removes the evidence of whole variables: give all of it, or omit guidance",
        )
        for name, entry in conditions.items()
        if not torch.equal(entry.known.flatten(1).any(1), entry.known.flatten(1).all(1))
    ]
    problems += [
        Problem(
            f"given {name}",
            "has an error (±), but guidance removes the evidence of whole variables: omit one of the two",
        )
        for name, entry in conditions.items()
        if not entry.exact
    ]
    problems += [
        Problem(name, f"guidance is not defined for estimates of kernel {kernel.type!r}; omit it")
        for name, kernel in conditional.kernels.items()
        if not (kernel.is_gaussian or kernel.is_categorical)
    ]
    if problems:
        raise EvidenceError(problems)
    prior = conditional.prior({name: conditional.rng.fork(name, "guidance") for name in conditional.kernels})

    def denoise(
        states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> dict[str, AnyCode]:
        hidden = {name: torch.where(entry.known, prior[name], states[name]) for name, entry in conditions.items()}
        late = {name: times_of_cells(~entry.known, times[name], 1.0) for name, entry in conditions.items()}
        unseen = {name: torch.zeros_like(observed[name]) for name in conditions}
        x0_hats = denoiser(_doubled(states, hidden), _doubled(times, late), _doubled(observed, unseen))
        rows = len(conditional.rng)
        return {
            name: guide(conditional.kernels[name], x0_hat[:rows], x0_hat[rows:], weight)
            for name, x0_hat in x0_hats.items()
        }

    return denoise


def _doubled(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Append to the first rows a copy, with entries of the second in their place where there are any."""
    return {name: torch.cat([rows, second.get(name, rows)]) for name, rows in first.items()}


def guide(kernel: AbstractKernel, conditional: Code, marginal: Code, weight: float) -> Code:
    """Return the guided estimate, eq. (1) or (2)."""
    if kernel.is_gaussian:
        return conditional + weight * (conditional - marginal)
    tiny = torch.finfo(conditional.dtype).tiny
    log_c, log_m = (torch.log(estimate.clamp_min(tiny)) for estimate in (conditional, marginal))
    return torch.softmax(log_c + weight * (log_c - log_m), 1)
