"""How far out in its own distribution a value lies, given the others: a tail probability that needs no other rows.

The probability-flow equation (Song et al. 2021, "Score-based generative modeling through stochastic differential
equations", eq. 13), walked from data to prior, carries p(code | evidence) to a standard normal distribution. In one
dimension it is therefore the normal score of the value's rank: Phi^-1 of the conditional distribution function.
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
"""Of the network, for one value: normal scores are then right to a tenth for a perfect network."""


def normal_scores(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b c *s"]:
    """Where the flow carries a code at t = 1, given the evidence; for a kernel of normal noise.

    Steps are those of DPM-Solver++(2M), backwards on its grid; the first evaluation is at the least noise of the grid.
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
        belief = now
        if 0 < step < evaluations - 1:
            ahead, behind = log_snr[step + 1] - log_snr[step], log_snr[step] - log_snr[step - 1]
            belief = now + ahead / (2 * behind) * (now - before)
        before = now
        ratio = noise[step + 1] / noise[step]
        state = signal[step + 1] * belief + ratio * (state - signal[step] * belief)
    return state.cpu()


def class_tail(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """Probability of the classes that are no likelier than the given one, itself included."""
    p = batch_mean(denoiser, conditional, evaluations=evaluations)[name].double()
    own = (p * code).sum(1, keepdim=True)
    return torch.where(p <= own, p, 0.0).sum(1).cpu()


@torch.inference_mode()
def tail_probability(
    model: JointDenoiser, given: Mapping[str, Evidence], name: str, code: AnyCode, rng: Rng
) -> Float64[Tensor, "b"]:
    """Chance of a value at least as far out as a row's, among those that go with the row's other evidence.

    Two-sided for a number: 0 far out on either side, 1 at the median. Near 0 for a rare class. A number that is not far
    out may still be improbable, in a gap between two clusters: see
    :func:`metavoxel.sampling.likelihood.log_likelihood`.

    Args:
        model: trained with a time for each variable.
        given: evidence, without the variable itself; what is not in it is integrated out.
        name: a variable without a grid, of normal noise or a category.
        code: of every row, exact.
        rng: streams of the rows.
    """
    found = [torch.zeros(0, dtype=torch.float64)]
    for rows, conditional in batches(model, given, rng):
        if model.kernels[name].support == "one_hot":
            found.append(class_tail(model.denoise, conditional, name, code[rows], evaluations=1))
            continue
        scores = normal_scores(model.denoise, conditional, name, code[rows], evaluations=EVALUATIONS)
        half = torch.full((len(scores),), scores[0].numel() / 2, dtype=torch.float64)
        found.append(torch.special.gammaincc(half, scores.flatten(1).square().sum(1) / 2))
    return torch.cat(found)
