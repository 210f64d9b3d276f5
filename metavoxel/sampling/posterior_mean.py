"""Posterior means without a trajectory: E[x_0 | evidence] from the network's prediction at t = 1.

Where a variable's state has no signal, E[x_0 | x_1, evidence] = E[x_0 | evidence]. One evaluation is then enough for a
perfect network; several average over a trained network's dependence on the prior state.
"""

from collections.abc import Collection, Mapping

import torch

from metavoxel.errors import EvidenceError, NumericalError, Problem
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional, Denoiser, JointDenoiser, batches, joined
from metavoxel.sampling.conditioning import Clean
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.trajectory import enter
from metavoxel.typing import AnyCode


def batch_mean(denoiser: Denoiser, conditional: Conditional, *, evaluations: int) -> dict[str, AnyCode]:
    """Return the marginal E[x_0 | evidence] of every variable, averaged over ``evaluations`` prior states at t = 1.

    Means are those of codes: class probabilities for a category. For a real code, the kernel's prediction must
    determine it at t = 1, and the network must be trained there.

    Raises:
        NumericalError: non-finite result of the network; names the variable.
    """
    conditions, rngs = conditional.condition_states(), conditional.streams()
    one = dict.fromkeys(conditional.kernels, torch.ones((), dtype=torch.float64))
    total: dict[str, AnyCode] = {}
    for _ in range(evaluations):
        inputs = enter(conditional, conditions, conditional.prior(rngs), one, Clean(), rngs)
        for name, x0_hat in denoiser(*inputs).items():
            total[name] = total[name] + x0_hat if name in total else x0_hat
    for name, sum_ in total.items():
        if not torch.isfinite(sum_).all():
            raise NumericalError(f"variable {name!r}: the network's estimate is not finite at t = 1")
    return {name: sum_ / evaluations for name, sum_ in total.items()}


@torch.inference_mode()
def posterior_mean(
    model: JointDenoiser,
    given: Mapping[str, Evidence],
    rng: Rng,
    *,
    evaluations: int,
    names: Collection[str] | None = None,
) -> dict[str, AnyCode]:
    """Return the marginal E[code | given] of each variable, from ``evaluations`` network evaluations per batch.

    Args:
        model: trained with a time for each variable.
        given: evidence of every row.
        rng: streams of the rows.
        evaluations: number of prior states averaged over.
        names: variables; by default all that are not given.

    Raises:
        EvidenceError: the network's prediction of a variable does not determine its mean at t = 1.
        NumericalError: non-finite result of the network.
    """
    wanted = [name for name in model.kernels if (name not in given if names is None else name in names)]
    problems = [
        Problem(
            name,
            f"its kernel {model.kernels[name].type!r} predicts the noise, which does not determine the posterior mean "
            "at t = 1. Use `draws=1` or more, or train with prediction 'v'",
        )
        for name in wanted
        if not model.kernels[name].predicts_mean
    ]
    if problems:
        raise EvidenceError(problems)
    found: dict[str, list[AnyCode]] = {name: [] for name in wanted}
    for _, conditional in batches(model, given, rng):
        means = batch_mean(model.denoise, conditional, evaluations=evaluations)
        for name in wanted:
            found[name].append(means[name])
    return joined(found, model)
