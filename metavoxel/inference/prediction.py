"""Predictions of a question's targets: posterior means or joint draws, optionally under other base rates."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.inference.base_rates import base_rates, shifted
from metavoxel.inference.order import DrawRequest, JointDraw, joint_draws
from metavoxel.inference.question import Question
from metavoxel.sampling.bounds import Bounds
from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams
from metavoxel.sampling.settings import Sampling
from metavoxel.typing import AnyCode


def target_means(
    model: JointDenoiser,
    question: Question,
    labels: Mapping[str, Sequence[str]],
    evidence: Mapping[str, Evidence],
    keys: Sequence[str],
    *,
    evaluations: int,
    seed: int,
) -> dict[str, AnyCode]:
    """Return the posterior mean code of each target given the evidence.

    Under a prior, the category's probabilities are shifted (:func:`.base_rates.shifted`). The other targets' means are
    averages, by these probabilities, of their means given each class: one further posterior mean per class.
    """
    rng = row_streams(seed, keys, 0)
    means = posterior_mean(model, evidence, rng, evaluations=evaluations, names=question.targets)
    for category, ratio in _ratios(model, question, labels, seed).items():
        probabilities = shifted(means[category], ratio)
        others = [name for name in question.targets if name != category]
        mixed = {name: torch.zeros_like(means[name]) for name in others}
        for index in range(probabilities.shape[1] if others else 0):
            label = torch.zeros_like(probabilities)
            label[:, index] = 1
            known = {**evidence, category: Evidence(label, torch.ones_like(label[:, :1], dtype=torch.bool))}
            of_class = posterior_mean(model, known, rng, evaluations=evaluations, names=others)
            for name in others:
                weight = probabilities[:, index].reshape(-1, *[1] * (mixed[name].ndim - 1))
                mixed[name] += weight * of_class[name]
        means |= {category: probabilities, **mixed}
    return means


def draw(
    model: JointDenoiser,
    question: Question,
    labels: Mapping[str, Sequence[str]],
    evidence: Mapping[str, Evidence],
    keys: Sequence[str],
    *,
    seed: int,
    sampling: Sampling,
    shared: bool,
    bounds: Mapping[str, Bounds],
) -> list[JointDraw]:
    """Return joint draws of the targets, with numbers within their bounds.

    All other variables are integrated out, unless the model has one ``shared`` time.
    """
    others = [] if shared else [name for name in model.kernels if name not in question.targets]
    ratios = _ratios(model, question, labels, seed)
    request = DrawRequest(question.order or question.targets, question.order is not None, others, ratios)
    return list(joint_draws(model, evidence, request, keys, question.draws, seed, sampling, bounds))


def _ratios(
    model: JointDenoiser, question: Question, labels: Mapping[str, Sequence[str]], seed: int
) -> dict[str, Float[Tensor, "k"]]:
    """Return the ratio of the prior's base rates to the model's, by category."""
    ratios = {}
    for name, rates in question.prior.items():
        prior = torch.tensor([rates[label] for label in labels[name]], dtype=torch.float64)
        own = base_rates(model, name, seed=seed).cpu()
        ratios[name] = prior / prior.sum() / own.clamp_min(1e-9)
    return ratios
