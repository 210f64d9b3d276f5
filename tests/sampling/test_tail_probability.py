"""Tail probabilities against exact distribution functions."""

import pytest
import torch
from exact_joint import ExactJoint

from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.tail_probability import EVALUATIONS, normal_scores, tail_probability
from metavoxel.testing import MixtureOracle

MIXTURE = MixtureOracle.default()
MODEL = ExactJoint(MIXTURE)


def setting(rows, given, *label):
    truth = MIXTURE.sample(Rng.for_rows(rows, "surprise", *label))
    codes = MIXTURE.codes(truth)
    evidence = {name: Evidence(codes[name].float(), torch.ones(rows, 1, dtype=torch.bool)) for name in given}
    return truth, codes, evidence


def exact_scores(name, values, truth, given, rows):
    """Return Phi^-1 of the exact conditional distribution function, a mixture of normal ones."""
    posterior = MIXTURE.given({other: truth[other] for other in given}, rows=rows)
    weights, means, variances = posterior._components(name)
    below = (weights * torch.special.ndtr((values[:, None] - means) / variances.sqrt())).sum(1)
    return torch.special.ndtri(below)


@pytest.mark.parametrize(("name", "given"), [("s1", ("binary",)), ("s4", ("s1", "s2", "s3", "five")), ("s3", ())])
def test_normal_scores_of_a_scalar(name, given):
    rows = 200
    truth, codes, evidence = setting(rows, given, name)
    rng = Rng.for_rows(rows, "flow")
    conditional = Conditional(MODEL.kernels, MODEL.code_shapes, evidence, (), MODEL.time_tags, rng)
    with torch.inference_mode():
        found = normal_scores(MODEL.denoise, conditional, name, codes[name].float(), evaluations=EVALUATIONS)[:, 0]
    error = found - exact_scores(name, truth[name], truth, given, rows)
    assert float(error.std()) < 0.1 and float(error.abs().max()) < 0.3


def test_tail_probabilities_of_quantiles():
    rows, given = 50, ("s2", "binary")
    truth, codes, evidence = setting(rows, given, "far")
    posterior = MIXTURE.given({other: truth[other] for other in given}, rows=rows)
    for level, low, high in ((0.5, 0.8, 1.01), (0.025, 0.035, 0.075), (1e-5, 0.0, 1e-3)):
        code = posterior.quantile("s1", level)[:, None].float()
        probability = tail_probability(MODEL, evidence, "s1", code, Rng.for_rows(rows, "far"))
        assert low <= float(probability.median()) <= high, level


def test_tail_probabilities_of_classes():
    rows, given = 30, ("s1", "s2")
    truth, codes, evidence = setting(rows, given, "class")
    probability = tail_probability(MODEL, evidence, "five", codes["five"].float(), Rng.for_rows(rows, "class"))
    probabilities = MIXTURE.given({name: truth[name] for name in given}).probabilities("five")
    own = probabilities.gather(1, truth["five"][:, None])
    expected = torch.where(probabilities <= own + 1e-6, probabilities, 0.0).sum(1)
    torch.testing.assert_close(probability, expected, atol=1e-4, rtol=0)
