"""How probable a value is, given the others: log p(variable | evidence) of a joint model, by a stated bound.

A category's probability is read out at t = 1, and is the model's own, not a bound. A real code has the variational
bound of diffusion in continuous time (Kingma et al. 2021, "Variational diffusion models", eq. 11 to 17), with the
variable at its own time and all evidence clean:

    log p(x) >= -KL(q(x_1 | x) || N(0, 1)) + 1/2 int SNR'(t) |x - x0_hat(x_t)|^2 dt + E log N(x; x_t0 / signal, 1 / SNR)

from t0 to 1, where SNR falls. At t0 log SNR is ``FINEST``: what is finer in a code than exp(-FINEST / 2) is lost.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

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
"""Log SNR of the smallest noise: a standard deviation of .018 in code units, where 1 is that of the training rows."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def estimate_at(
    denoiser: Denoiser,
    conditional: Conditional,
    name: str,
    state: AnyCode,
    t: Float64[Tensor, "b"],
    rngs: Mapping[str, Rng],
) -> AnyCode:
    """E[code | evidence, state] of one variable at a time of its own, all that is not evidence integrated out.

    ``conditional.given`` must not have it. ``rngs`` give the prior states of what is integrated out.
    """
    one = torch.ones((), dtype=torch.float64)
    states, times, observed = enter(
        conditional, conditional.condition_states(), conditional.prior(rngs), one, Clean(), rngs
    )
    states[name], times[name] = state, t
    return denoiser(states, times, observed)[name]


def code_bound(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """A lower bound of log p(code | evidence) in nats, all cells of the code together, for normal noise.

    With u = -log(1 - alpha_bar), which runs evenly over the noise levels that matter, the integral is that of
    |x - x0_hat|^2 / (1 - alpha_bar) over u. It is taken at one random place in each of ``evaluations`` equal strata.
    Noise is spread evenly over them too (a lattice under a random shift, cell by cell), and the part of the error that
    is plain noise, alpha_bar^2 noise^2 of known mean, is taken out: together a fifth of the standard error of
    independent draws. The estimate is unbiased.
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
    """alpha_bar and 1 - alpha_bar at these times, shaped as ``code``."""
    log_snr = along(kernel.log_snr(t), code)
    return torch.sigmoid(log_snr), torch.sigmoid(-log_snr)


def class_log_probability(
    denoiser: Denoiser, conditional: Conditional, name: str, code: AnyCode, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """log p(class | evidence) of a one-hot code: the read-out, averaged over so many prior states; cells summed."""
    probabilities = batch_mean(denoiser, conditional, evaluations=evaluations)[name]
    return torch.log((probabilities * code).sum(1, keepdim=True)).double().flatten(1).sum(1).cpu()


def has_likelihood(kernel: AbstractKernel) -> bool:
    """Whether this module knows how probable a code of this kernel is."""
    return kernel.support == "one_hot" or kernel.is_gaussian


@torch.inference_mode()
def log_likelihood(
    model: JointDenoiser, given: Mapping[str, Evidence], name: str, code: AnyCode, rng: Rng, *, evaluations: int
) -> Float64[Tensor, "b"]:
    """log p(code | given) of each row in nats: of a class the model's own, of a real code a lower bound.

    Args:
        model: trained with a time for each variable.
        given: evidence, without the variable itself; what is not in it is integrated out.
        name: a variable that ``has_likelihood``.
        code: of every row, exact.
        rng: streams of the rows.
        evaluations: of the network, a row.
    """
    function = class_log_probability if model.kernels[name].support == "one_hot" else code_bound
    found = [
        function(model.denoise, conditional, name, code[rows], evaluations=evaluations)
        for rows, conditional in batches(model, given, rng)
    ]
    return torch.cat([torch.zeros(0, dtype=torch.float64), *found])
