"""Answering a question: read-outs or joint draws, with other base rates where they are asked for."""

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
    """The mean code of each target, by itself, given the evidence.

    Under a prior, the category's probabilities are shifted, and the other targets' means are those given each of its
    classes, mixed by them: a further read-out for every class.
    """
    rng = row_streams(seed, keys, 0)
    means = posterior_mean(model, evidence, rng, evaluations=evaluations, names=question.targets)
    for category, ratio in _ratios(model, question, labels, seed).items():
        chances = shifted(means[category], ratio)
        others = [name for name in question.targets if name != category]
        mixed = {name: torch.zeros_like(means[name]) for name in others}
        for index in range(chances.shape[1] if others else 0):
            label = torch.zeros_like(chances)
            label[:, index] = 1
            known = {**evidence, category: Evidence(label, torch.ones_like(label[:, :1], dtype=torch.bool))}
            of_class = posterior_mean(model, known, rng, evaluations=evaluations, names=others)
            for name in others:
                share = chances[:, index].reshape(-1, *[1] * (mixed[name].ndim - 1))
                mixed[name] += share * of_class[name]
        means |= {category: chances, **mixed}
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
    """Joint draws of the targets, numbers within their bounds.

    What is neither target nor given is integrated out, where the model can.
    """
    others = [] if shared else [name for name in model.kernels if name not in question.targets]
    ratios = _ratios(model, question, labels, seed)
    asked = DrawRequest(question.order or question.targets, question.order is not None, others, ratios)
    return list(joint_draws(model, evidence, asked, keys, question.draws, seed, sampling, bounds))


def _ratios(
    model: JointDenoiser, question: Question, labels: Mapping[str, Sequence[str]], seed: int
) -> dict[str, Float[Tensor, "k"]]:
    """New base rates over the model's own, of the category that has some."""
    ratios = {}
    for name, rates in question.prior.items():
        wanted = torch.tensor([rates[label] for label in labels[name]], dtype=torch.float64)
        own = base_rates(model, name, seed=seed).cpu()
        ratios[name] = wanted / wanted.sum() / own.clamp_min(1e-9)
    return ratios
