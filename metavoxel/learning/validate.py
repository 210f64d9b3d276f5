"""How well a model answers on the validation subjects: the figure that the best step is chosen by."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from metavoxel.joint import JointModel
from metavoxel.learning.codes import CodeBank
from metavoxel.learning.objective import corrupt, loss_sums, ratio
from metavoxel.learning.times import RowTimes
from metavoxel.rng import Rng
from metavoxel.sampling.ask import Sampling, posterior_means, row_streams, sample_codes
from metavoxel.sampling.evidence import Given

EVALUATIONS = 2
DENOISING_TIMES = (0.25, 0.5, 0.75)
DRAWING_REPEATS = 4
HALF_A_COUNT = 0.02
"""Of every category: a single draw is no probability, and this keeps its logarithm finite."""
QUICK_CLEAN = Sampling(steps=10)
QUICK_REPLACE = Sampling(steps=10, solver="ddim", grid="uniform", conditioning="replace")


class Errors(NamedTuple):
    """Of one variable, relative to knowing only the training rows.

    Attributes:
        asked: of its prediction from all others.
        seen: of its denoising at the times between.
    """

    asked: float
    seen: float

    @property
    def both(self) -> float:
        """Mean over the prediction and the denoisings."""
        return (self.asked + len(DENOISING_TIMES) * self.seen) / (1 + len(DENOISING_TIMES))

    def mixed(self, loss: float, share: float) -> "Errors":
        """The same where a share of what counts is another loss."""
        return Errors(*((1 - share) * error + share * loss for error in self))


def relative_errors(
    model: JointModel,
    banks: Mapping[str, CodeBank],
    rows: Int64[Tensor, "n"],
    training_rows: Int64[Tensor, "m"],
    *,
    shared: bool,
    seed: int,
) -> dict[str, Errors]:
    """For each variable, the errors of its prediction and of its denoising.

    Squared error of the code for real codes, cross-entropy for categories; 1 is no better than the training rows' mean
    or frequencies. Variables that no validation row has are left out.
    """
    device = model.time_tags.device
    errors: dict[str, Errors] = {}
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
        categories = model.kernels[name].support == "one_hot"
        reference = _error(truth, prior.expand_as(truth), categories).clamp_min(1e-12)
        every = {**given, name: _given(bank, asked, device)}
        seen_at = [_denoised(model, every, name, t, rng, shared) for t in DENOISING_TIMES]
        error = _error(truth, _belief(model, given, rng, name, shared), categories)
        between = torch.stack([_error(truth, belief, categories) for belief in seen_at]).mean()
        errors[name] = Errors(float(error / reference), float(between / reference))
    return errors


def drawing_losses(
    model: JointModel,
    banks: Mapping[str, CodeBank],
    rows: Int64[Tensor, "n"],
    times: Callable[[Bool[Tensor, "b v"], Rng], RowTimes],
    seed: int,
) -> dict[str, float]:
    """For each variable, the training loss of these rows where all unknown variables are noisy, as a draw meets them.

    0 where no row has the variable.
    """
    device = model.time_tags.device
    present = torch.stack([banks[name].present for name in model.kernels], 1)
    totals: dict[str, tuple[Tensor, Tensor]] = {}
    for repeat in range(DRAWING_REPEATS):
        rng = row_streams(seed, [f"validation {int(row)}" for row in rows], repeat).fork("drawing")
        noised = corrupt(
            model, banks, rows, times(present[rows], rng.fork("times")), rng, device=device, vary=False, partial=False
        )
        predictions = model(noised.states, noised.times, noised.observed)
        for name, (total, count) in loss_sums(model, predictions, noised).items():
            if name in totals:
                total, count = totals[name][0] + total, totals[name][1] + count
            totals[name] = (total, count)
    return {name: float(ratio(total, count)) for name, (total, count) in totals.items()}


def _error(truth: Float[Tensor, "n *c"], belief: Float[Tensor, "n *c"], categories: bool) -> Float[Tensor, ""]:
    belief = belief.cpu()
    if not categories:
        return (truth - belief).square().mean()
    belief = (1 - HALF_A_COUNT) * belief + HALF_A_COUNT / belief.shape[1]
    return -(truth * belief.log()).sum(1).mean()


def _denoised(model: JointModel, every: Mapping[str, Given], name: str, t: float, rng: Rng, shared: bool) -> Tensor:
    """What is believed of one variable's code seen at time t: beside all others clean, or as noisy as it is."""
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
    return belief


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
