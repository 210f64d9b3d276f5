"""How well a model answers on the validation subjects: the figure that the best step is chosen by."""

from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from metavoxel.joint import JointModel
from metavoxel.learning.codes import CodeBank
from metavoxel.rng import Rng
from metavoxel.sampling.ask import Sampling, posterior_means, row_streams, sample_codes
from metavoxel.sampling.evidence import Given

EVALUATIONS = 2
DENOISING_TIMES = (0.25, 0.5, 0.75)
QUICK_CLEAN = Sampling(steps=10)
QUICK_REPLACE = Sampling(steps=10, solver="ddim", grid="uniform", conditioning="replace")


def relative_errors(
    model: JointModel,
    banks: Mapping[str, CodeBank],
    rows: Int64[Tensor, "n"],
    training_rows: Int64[Tensor, "m"],
    *,
    shared: bool,
    seed: int,
) -> dict[str, float]:
    """For each variable, the error of its prediction from all others, relative to knowing only the training rows.

    Squared error of the code for real codes, cross-entropy for categories; 1 is no better than the training rows' mean
    or frequencies. Variables that no validation row has are left out. An image is hardly to be predicted from scalars,
    but to be drawn: the error of its prediction is averaged with those of its denoising at the times between.
    """
    device = model.time_tags.device
    errors: dict[str, float] = {}
    for name in model.kernels:
        bank = banks[name]
        asked = rows[bank.present[rows]]
        if not len(asked):
            continue
        truth = bank.mean[asked, 0]
        seen = training_rows[bank.present[training_rows]]
        prior = bank.mean[seen, 0].mean(0, keepdim=True)
        given = {other: _given(banks[other], asked, device) for other in model.kernels if other != name}
        rng = row_streams(seed, [f"validation {int(row)}" for row in asked], 0)
        belief = _belief(model, given, rng, name, shared).cpu()
        if model.kernels[name].support == "one_hot":
            # A single draw is no probability: half a count for every category keeps its logarithm finite.
            belief = 0.98 * belief + 0.02 / belief.shape[1]
            prior = 0.98 * prior + 0.02 / prior.shape[1]
            error, reference = -(truth * belief.log()).sum(1).mean(), -(truth * prior.log()).sum(1).mean()
        else:
            error, reference = (truth - belief).square().mean(), (truth - prior).square().mean()
        found = [error]
        if len(model.code_shapes[name]) > 1:
            every = {**given, name: _given(bank, asked, device)}
            found += [_denoising_error(model, every, name, t, rng, shared) for t in DENOISING_TIMES]
        errors[name] = float(torch.stack(found).mean() / reference.clamp_min(1e-12))
    return errors


def _denoising_error(
    model: JointModel, every: Mapping[str, Given], name: str, t: float, rng: Rng, shared: bool
) -> Tensor:
    """Squared error of one variable's code seen at time t: beside all others clean, or as noisy as it is."""
    states, times, observed = {}, {}, {}
    for other, kernel in model.kernels.items():
        entry, stream = every[other], rng.fork("denoising", other)
        noisy = shared or other == name
        time = torch.full((len(rng),), t if noisy else 0.0, dtype=torch.float64)
        absent = ~entry.known.flatten(1).any(1).cpu()
        time = torch.where(absent, 1.0, time)
        states[other] = kernel.noise(entry.code, time, rng=stream).state
        times[other], observed[other] = time, entry.known & (not noisy)
    belief: Tensor = model.denoise(states, times, observed)[name]
    return (belief - every[name].code).square().mean().cpu()


def _given(bank: CodeBank, rows: Int64[Tensor, "n"], device: torch.device) -> Given:
    code = bank.mean[rows, 0].to(device)
    known = bank.present[rows].reshape(-1, *[1] * (code.ndim - 1)).expand(len(rows), 1, *code.shape[2:])
    return Given(code, known.to(device))


def _belief(model: JointModel, given: Mapping[str, Given], rng: Rng, name: str, shared: bool) -> Tensor:
    """What the model expects of one variable given the others: its read-out, else the mean of some draws."""
    if not shared and model.kernels[name].reads_out:
        return posterior_means(model, given, rng, evaluations=EVALUATIONS, asked=[name])[name]
    others = () if shared else [other for other in model.kernels if other != name]
    sampling = QUICK_REPLACE if shared else QUICK_CLEAN
    draws = [sample_codes(model, given, rng.fork(f"draw {draw}"), sampling, marginal=others) for draw in range(3)]
    return torch.stack([codes[name] for codes in draws]).mean(0)
