"""Conditional log-likelihood of a variable given evidence, log p(variable | evidence).

The log-probability of a class is exact under the model: the logarithm of its posterior mean at t = 1. A sequence of n
classes has the bound of a model of any order (Hoogeboom et al. 2022, "Autoregressive diffusion models", eq. 4 and 6),
with i uniform on 0..n-1, a random set S of i cells given clean and the others at t = 1:

    log p(x) >= n E_i E_S mean_{k not in S} log p(x_k | x_S).                                                    (1)

The bound is not a sum of marginals, and is exact for an exact network.

A real code has the variational lower bound of continuous-time diffusion (Kingma et al. 2021, "Variational diffusion
models", eq. 11 to 17), with the variable at its own time and clean evidence:

    log p(x) >= -KL(q(x_1 | x) || N(0, 1)) + E log N(x; x_t0 / a_t0, 1 / SNR_t0)
                + 1/2 int_t0^1 SNR'(t) E |x - x0_hat(x_t)|^2 dt,                                                 (2)

where a_t is the signal, and SNR' < 0. With u = log(1 + SNR) = -log(1 - alpha_bar), which spreads evenly over the noise
levels that matter, SNR'(t) dt = du / (1 - alpha_bar), and the last term is

    -1/2 int_u(1)^u(t0) E |x - x0_hat|^2 / (1 - alpha_bar) du.                                                   (3)

At t0 the log-SNR is ``FINEST``: structure of a code finer than exp(-FINEST / 2) is not resolved.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.parts.indices import probability_of
from metavoxel.parts.kernels.base import AbstractKernel, along
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional, Denoiser, JointDenoiser, batches
from metavoxel.sampling.conditioning import Clean
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import batch_mean
from metavoxel.sampling.times import LOG_SNR_BOUND
from metavoxel.sampling.trajectory import enter
from metavoxel.typing import AnyCode

FINEST = LOG_SNR_BOUND
"""Log-SNR of the smallest noise: a standard deviation of .018 in code units, in which the training rows have 1."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def estimate_at(
    denoiser: Denoiser,
    conditional: Conditional,
    name: str,
    state: AnyCode,
    t: Float64[Tensor, "b"],
    rngs: Mapping[str, Rng],
) -> AnyCode:
    """Return E[code | evidence, state] of one variable at its own time, with all unknown variables integrated out.

    ``conditional.given`` must not contain it. ``rngs`` draw the prior states of the other unknown variables.
    """
    one = dict.fromkeys(conditional.kernels, torch.ones((), dtype=torch.float64))
    states, times, observed = enter(
        conditional, conditional.condition_states(), conditional.prior(rngs), one, Clean(), rngs
    )
    states[name], times[name] = state, t
    return denoiser(states, times, observed)[name]


def code_bound(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """Return an unbiased estimate of eq. (2) in nats, summed over all cells of the code, for Gaussian noise.

    Integral (2) is evaluated at one random u in each of ``evaluations`` equal strata. The noise is stratified too (a
    randomly shifted lattice in each cell), and alpha_bar^2 noise^2, of known mean, is a control variate. Together they
    give a fifth of the standard error of independent draws.
    """
    kernel, rngs = conditional.kernels[name], conditional.streams()
    own = conditional.rng.fork("likelihood", name)
    place = own.uniform((len(code),), dtype=torch.float64)
    shift = own.uniform(tuple(code.shape), like=code, dtype=torch.float64)
    one = torch.ones(len(code), dtype=torch.float64)
    start = float(torch.nn.functional.softplus(kernel.log_snr(one[:1])))
    width = math.log1p(math.exp(FINEST)) - start
    strata = torch.arange(evaluations, dtype=torch.float64)[:, None]
    u = start + width * (strata + place) / evaluations
    times = kernel.time_of(torch.log(torch.expm1(u)).flatten()).reshape(u.shape)
    total = torch.zeros(len(code), dtype=torch.float64, device=code.device)
    for stratum, t in enumerate(times):
        alpha_bar, rest = scales(kernel, t, code)
        noise = torch.special.ndtri((shift + stratum * _GOLDEN) % 1)
        of_data, of_noise = kernel.scales(along(t, code))
        state = (of_data * code + of_noise * noise).to(code.dtype)
        error = code - estimate_at(denoiser, conditional, name, state, t, rngs).double()
        cells = error.square() / rest - alpha_bar.square() * (noise.square() - 1)
        total += cells.flatten(1).sum(1)
    alpha_bar, rest = scales(kernel, one, code)
    prior = (alpha_bar * code.double().square() - alpha_bar - torch.log(rest)).flatten(1).sum(1) / 2
    finest = math.prod(code.shape[1:]) * (1 + math.log(2 * math.pi) - FINEST) / 2
    return (-prior - width / (2 * evaluations) * total - finest).cpu()


def scales(
    kernel: AbstractKernel, t: Float64[Tensor, "b"], code: AnyCode
) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    """Return alpha_bar and 1 - alpha_bar at these times, broadcastable against ``code``."""
    log_snr = along(kernel.log_snr(t), code)
    return torch.sigmoid(log_snr), torch.sigmoid(-log_snr)


def class_log_probability(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """Return log p(class | evidence) of a label: its posterior mean at t = 1, averaged over ``evaluations`` prior
    states."""
    probabilities = batch_mean(denoiser, conditional, evaluations=evaluations)[name]
    return torch.log((probabilities * code).sum(1, keepdim=True)).double().flatten(1).sum(1).cpu()


def any_order_bound(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """Return an unbiased estimate of eq. (1) in nats, of a one-hot code on a grid, in either form.

    The number of given cells is random in each of ``evaluations`` equal strata.
    """
    own, cells = conditional.rng.fork("likelihood", name), math.prod(code.shape[2:])
    place = own.uniform((len(code), 1), dtype=torch.float64)
    total = torch.zeros(len(code), dtype=torch.float64)
    for stratum in range(evaluations):
        count = ((stratum + place) / evaluations * cells).floor().clamp_max(cells - 1)
        rank = own.uniform((len(code), cells)).argsort(1).argsort(1)
        known = (rank < count).reshape(len(code), 1, *code.shape[2:])
        entry = Evidence(code, known.to(code.device))
        partly = conditional._replace(given={**conditional.given, name: entry})
        probabilities = batch_mean(denoiser, partly, evaluations=1)[name]
        log_p = torch.log(probability_of(probabilities, code)).double().cpu()
        total += torch.where(known, 0.0, log_p).flatten(1).sum(1) / (cells - count[:, 0])
    return cells * total / evaluations


def has_likelihood(kernel: AbstractKernel) -> bool:
    """Return whether codes of this kernel have a log-likelihood."""
    return kernel.is_categorical or kernel.is_gaussian


@torch.inference_mode()
def log_likelihood(
    model: JointDenoiser, given: Mapping[str, Evidence], name: str, code: AnyCode, rng: Rng, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """Return log p(code | given) of each row in nats: exact under the model for a class, else a lower bound.

    Args:
        model: trained with a time for each variable.
        given: evidence, without the variable itself; all other variables are integrated out.
        name: a variable whose kernel satisfies :func:`has_likelihood`.
        code: of every row, exact.
        rng: streams of the rows.
        evaluations: network evaluations per row.
    """
    kernel = model.kernels[name]
    of_classes = class_log_probability if kernel.is_label(model.code_shapes[name]) else any_order_bound
    function = of_classes if kernel.is_categorical else code_bound
    found = [
        function(model.denoise, conditional, name, code[rows], evaluations=evaluations)
        for rows, conditional in batches(model, given, rng)
    ]
    return torch.cat([torch.zeros(0, dtype=torch.float64), *found])
