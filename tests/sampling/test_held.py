"""Draws in few evaluations: the network's correction of a baseline is held between them."""

import numpy as np
import pytest
import torch

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.held import (
    FINE_STEPS,
    MOST_EVALUATIONS,
    AbstractCorrectedDenoiser,
    HeldCorrection,
    evaluated_steps,
)
from metavoxel.sampling.sample import sample_codes
from metavoxel.sampling.settings import Sampling
from metavoxel.testing.oracle import MixtureOracle

ROWS = 1500
LEVELS = np.arange(1, 10) / 10


def moments(oracle):
    """Return the Gaussian with the mean and covariance of an oracle's scalars, and its class frequencies."""
    weights, means = oracle._weights, oracle._means
    mean = weights @ means
    spread = (means - mean)[:, :, None] * (means - mean)[:, None]
    covariance = (weights[:, None, None] * (oracle._covariances + spread)).sum(0)
    tables = {name: (weights @ table)[None] for name, table in oracle._tables.items()}
    return MixtureOracle(
        weights=[1.0], scalars=oracle.scalars, means=mean[None], covariances=covariance[None], categories=tables
    )


class Corrected(AbstractCorrectedDenoiser):
    """An exact denoiser, and another oracle's as its baseline; counts exact evaluations."""

    def __init__(self, oracle, baseline):
        self.kernels = {name: GaussianKernel() for name in oracle.scalars}
        self.kernels |= {name: UniformD3PMKernel() for name in oracle.categories}
        self.code_shapes = {name: (oracle.categories.get(name, 1),) for name in oracle.names}
        self.device, self.with_baseline, self.evaluations = torch.device("cpu"), oracle.names, 0
        self._exact, self._baseline = oracle.denoiser(self.kernels), baseline.denoiser(self.kernels)

    with_baseline = ()

    def denoise(self, states, times, observed):
        self.evaluations += 1
        return self._exact(states, times)

    def denoise_baseline(self, states, times, observed):
        return self._baseline(states, times)


class Plain:
    """The exact denoiser alone."""

    def __init__(self, corrected):
        self.kernels, self.code_shapes, self.device = corrected.kernels, corrected.code_shapes, corrected.device
        self.denoise = corrected.denoise


def draws(model, steps, oracle, evidence, target):
    given = {name: Evidence(code.float(), torch.ones(ROWS, 1).bool()) for name, code in oracle.codes(evidence).items()}
    others = [name for name in oracle.names if name != target]
    rng = Rng.for_rows(ROWS, "draw", target)
    return sample_codes(model, given, rng, Sampling(steps=steps), marginal=others)[target][:, 0].double()


def spread_error(model, steps, oracle):
    """Return the mean difference between the frequency of draws below an exact quantile and its level."""
    test, found = oracle.sample(Rng.for_rows(ROWS, "test")), []
    for names, target in ((("s1",), "s3"), (("s2", "five"), "s1")):
        evidence = {name: test[name] for name in names}
        drawn, exact = draws(model, steps, oracle, evidence, target), oracle.given(evidence)
        found += [abs(float((drawn < exact.quantile(target, level)).double().mean()) - level) for level in LEVELS]
    return float(np.mean(found))


@pytest.mark.parametrize("evaluations", range(1, MOST_EVALUATIONS + 1))
def test_the_first_step_is_evaluated_and_others_are_spread(evaluations):
    found = sorted(evaluated_steps(evaluations, FINE_STEPS))
    assert len(found) == evaluations and found[0] == 0 and found[-1] < FINE_STEPS
    assert max(np.diff(found), default=1) - min(np.diff(found), default=1) <= 1


def test_with_a_right_baseline_few_evaluations_are_the_fine_trajectory():
    oracle = MixtureOracle.default()
    model = Corrected(oracle, oracle)
    evidence = {"s1": oracle.sample(Rng.for_rows(ROWS, "test"))["s1"]}
    few = draws(model, 2, oracle, evidence, "s2")
    assert model.evaluations == 2
    fine = draws(Plain(model), FINE_STEPS, oracle, evidence, "s2")
    torch.testing.assert_close(few, fine, rtol=0, atol=1e-4)


def test_four_evaluations_of_a_correction_beat_four_steps():
    """The baseline, a Gaussian with the moments of three components, is wrong in shape."""
    oracle = MixtureOracle.default()
    model = Corrected(oracle, moments(oracle))
    held, plain = spread_error(model, 4, oracle), spread_error(Plain(model), 4, oracle)
    assert held < 0.5 * plain and held < 0.025, f"held {held:.4f}, plain {plain:.4f}; sampling error alone .008"


def test_an_evaluation_at_every_step_is_the_denoiser():
    oracle = MixtureOracle.default()
    model = Corrected(oracle, moments(oracle))
    states = {name: code.float() for name, code in oracle.codes(oracle.sample(Rng.for_rows(5, "states"))).items()}
    observed = {name: torch.zeros(5, 1, dtype=torch.bool) for name in states}
    every = HeldCorrection(model.denoise, model.denoise_baseline, model.kernels, range(3))
    for t in (1.0, 0.5, 0.1):
        times = {name: torch.full((5,), t, dtype=torch.float64) for name in states}
        found, expected = every(states, times, observed), model.denoise(states, times, observed)
        for name in states:
            assert torch.equal(found[name], expected[name])


def test_held_corrections():
    """Of v for a number; of log-probabilities for a category; the estimate itself without a baseline."""
    kernels = {"x": GaussianKernel(), "c": UniformD3PMKernel(), "lone": GaussianKernel()}
    baseline = {"x": torch.tensor([[1.0]]), "c": torch.tensor([[0.5, 0.5]])}
    full = {"x": torch.tensor([[1.6]]), "c": torch.tensor([[0.8, 0.2]]), "lone": torch.tensor([[7.0]])}
    held = HeldCorrection(lambda *_: full, lambda *_: baseline, kernels, {0})
    states = {"x": torch.zeros(1, 1), "c": torch.tensor([[1.0, 0.0]]), "lone": torch.zeros(1, 1)}
    first, second = (dict.fromkeys(kernels, torch.tensor([t], dtype=torch.float64)) for t in (0.7, 0.3))
    assert held(states, first, {}) == full
    baseline["c"] = torch.tensor([[0.2, 0.8]])
    found = held(states, second, {})
    ratio = float(kernels["x"].scales(second["x"])[1] / kernels["x"].scales(first["x"])[1])
    assert float(found["x"]) == pytest.approx(1 + 0.6 * ratio)
    assert found["c"][0].tolist() == pytest.approx([0.5, 0.5])
    assert torch.equal(found["lone"], full["lone"])


@pytest.mark.parametrize(
    ("sampling", "holds"),
    [
        (Sampling(steps=MOST_EVALUATIONS), True),
        (Sampling(steps=MOST_EVALUATIONS + 1), False),
        (Sampling(steps=4, grid="uniform"), False),
        (Sampling(steps=4, guidance=1.0), False),
        (Sampling(steps=4, conditioning="replace"), False),
    ],
)
def test_settings_under_which_corrections_are_held(sampling, holds):
    assert sampling.holds == holds
