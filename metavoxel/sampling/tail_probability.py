"""Tail probability of a value under its conditional distribution given the other variables.

The probability-flow ODE (Song et al. 2021, "Score-based generative modeling through stochastic differential equations",
eq. 13), solved from data to prior, transports p(code | evidence) to a standard normal distribution. In one dimension
the map is monotone, so its end point z is the normal score of the value's rank:

    z = Phi^-1(F(code | evidence)),    F the conditional distribution function.                                  (1)

A code of d numbers has the tail probability P(chi^2_d >= |z|^2), which is 2 Phi(-|z|) for d = 1.                (2)
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional, Denoiser, JointDenoiser, batches
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.likelihood import estimate_at
from metavoxel.sampling.posterior_mean import batch_mean
from metavoxel.sampling.times import log_snr_grid
from metavoxel.typing import AnyCode

EVALUATIONS = 8
"""Network evaluations per value: with a perfect network, the error of normal scores is then about a tenth."""


def normal_scores(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b c *s"]:
    """Return z of eq. (1): the end point at t = 1 of the probability flow from a code, for a Gaussian kernel.

    Steps are those of DPM-Solver++(2M) on the reversed grid, from its smallest noise.
    """
    kernel, rngs = conditional.kernels[name], conditional.streams()
    grid = log_snr_grid(evaluations + 1, kernel).flip(0)[1:]
    log_snr = kernel.log_snr(grid)
    signal, noise = kernel.scales(grid)
    state = signal[0] * code.double()
    before = torch.zeros_like(state)
    for step in range(evaluations):
        t = grid[step].expand(len(code))
        now = estimate_at(denoiser, conditional, name, state.to(code.dtype), t, rngs).double()
        x0_hat = now
        if 0 < step < evaluations - 1:
            ahead, behind = log_snr[step + 1] - log_snr[step], log_snr[step] - log_snr[step - 1]
            x0_hat = now + ahead / (2 * behind) * (now - before)
        before = now
        ratio = noise[step + 1] / noise[step]
        state = signal[step + 1] * x0_hat + ratio * (state - signal[step] * x0_hat)
    return state.cpu()


def class_tail(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """Return the total probability of the classes no likelier than the given one, itself included."""
    p = batch_mean(denoiser, conditional, evaluations=evaluations)[name].double()
    own = (p * code).sum(1, keepdim=True)
    return torch.where(p <= own, p, 0.0).sum(1).cpu()


@torch.inference_mode()
def tail_probability(
    model: JointDenoiser, given: Mapping[str, Evidence], name: str, code: AnyCode, rng: Rng
) -> Float64[Tensor, "b"]:
    """Return the probability, given the evidence, of a value at least as extreme as each row's.

    It is two-sided for a number, eq. (2): near 0 in either tail, 1 at the median. For a class see :func:`class_tail`.
    A value between two modes is improbable without being extreme, which
    :func:`metavoxel.sampling.likelihood.log_likelihood` detects.

    Args:
        model: trained with a time for each variable.
        given: evidence, without the variable itself; all other variables are integrated out.
        name: a variable without a grid: a category, or one with a Gaussian kernel.
        code: of every row, exact.
        rng: streams of the rows.
    """
    found = [torch.zeros(0, dtype=torch.float64)]
    for rows, conditional in batches(model, given, rng):
        if model.kernels[name].is_categorical:
            found.append(class_tail(model.denoise, conditional, name, code[rows], evaluations=1))
            continue
        scores = normal_scores(model.denoise, conditional, name, code[rows], evaluations=EVALUATIONS)
        half = torch.full((len(scores),), scores[0].numel() / 2, dtype=torch.float64)
        found.append(torch.special.gammaincc(half, scores.flatten(1).square().sum(1) / 2))
    return torch.cat(found)
