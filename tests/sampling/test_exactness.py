"""Sampling with an exact denoiser, so that the only error is the sampler's.

Thresholds are in standard errors of the sample, plus the known bias of the method.
"""

import math

import exact_pair
import pytest
import torch
from exact_pair import GIVEN, MEAN, RHO, VARIANCE, Z, assert_normal, last_of
from exact_pair import KERNELS as KERNELS_OF_PAIR

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.conditioning import Clean, Replace
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import batch_mean
from metavoxel.sampling.solvers import DDIM, DPMSolver2M
from metavoxel.sampling.times import log_snr_grid, uniform_grid
from metavoxel.sampling.trajectory import sample_trajectory
from metavoxel.testing import MixtureOracle


def oracle_denoiser(oracle, kernels):
    exact = oracle.denoiser(kernels)
    return lambda states, times, observed: exact(states, times)


def sample(denoiser, kernels, shapes, given, grid, solver, conditioning, rng, marginal=()):
    like = torch.zeros((), dtype=torch.float64)
    conditional = Conditional(kernels, shapes, given, marginal, like, rng)
    *_, last = sample_trajectory(denoiser, conditional, grid, solver=solver, conditioning=conditioning)
    return last


def sample_pair(rows, conditioning, steps=50, solver=None, grid=None, **options):
    """Sample x given y = 1.5; exactly, it is normal with mean 1.35 and variance .19."""
    grid = log_snr_grid(steps, KERNELS_OF_PAIR["x"]) if grid is None else grid
    pair = exact_pair.question(rows, f"pair {steps}", **options)
    trajectory = sample_trajectory(
        exact_pair.denoiser, pair, grid, solver=solver or DPMSolver2M(), conditioning=conditioning
    )
    drawn = last_of(trajectory)
    assert pair.given["y"].sd is not None or torch.equal(drawn["y"], pair.given["y"].code)
    return drawn["x"][:, 0]


@pytest.mark.parametrize(
    ("solver", "grid", "slack"),
    [
        (DPMSolver2M(), log_snr_grid(50, KERNELS_OF_PAIR["x"]), 0.002),
        (DPMSolver2M(1.0), log_snr_grid(50, KERNELS_OF_PAIR["x"]), 0.002),
        # Deterministic first-order steps underestimate a small variance a little; ancestral ones overestimate it
        (DDIM(0.0), log_snr_grid(200, KERNELS_OF_PAIR["x"]), 0.01),
        (DDIM(1.0), log_snr_grid(200, KERNELS_OF_PAIR["x"]), 0.01),
    ],
    ids=["2M", "2M-stochastic", "ddim", "ancestral"],
)
def test_clean_conditioning_is_exact(solver, grid, slack):
    assert_normal(sample_pair(20_000, Clean(), solver=solver, grid=grid), MEAN, VARIANCE, slack)


def test_replacement_is_biased_at_any_number_of_steps():
    """Even with an exact denoiser; clean conditioning is not."""
    for steps in (50, 200):
        x = sample_pair(8_000, Replace(), steps, DDIM(1.0), uniform_grid(steps))
        assert 0.85 < float(x.mean()) < 1.03
        assert 0.26 < float(x.var()) < 0.36


@pytest.mark.parametrize("jump", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_resampling_reduces_the_bias(jump):
    """RePaint: ten passes remove nine tenths of it, at ten times the cost."""
    plain = sample_pair(4_000, Replace(), 100, DDIM(1.0), uniform_grid(100))
    repainted = sample_pair(4_000, Replace(resamplings=10, jump=jump), 100, DDIM(1.0), uniform_grid(100))
    assert abs(float(repainted.mean()) - MEAN) < 0.07 and float(plain.mean()) < MEAN - 0.3
    assert abs(float(repainted.var()) - VARIANCE) < 0.05 and float(plain.var()) > VARIANCE + 0.08


@pytest.mark.parametrize("marginal", [(), ("y",)], ids=["sampled", "marginal"])
@pytest.mark.parametrize("sd", [0.05, 0.5, 3.0])
def test_a_measurement_with_noise_is_a_likelihood(sd, marginal):
    """y = 1.5 with measurement error, against Bayes' rule; its true value is sampled with the others."""
    trajectory = sample_trajectory(
        exact_pair.denoiser, exact_pair.question(20_000, "noisy", sd=sd, marginal=marginal),
        log_snr_grid(50, KERNELS_OF_PAIR["x"]), solver=DPMSolver2M(), conditioning=Clean(),
    )  # fmt: skip
    drawn = last_of(trajectory)
    gain = 1 / (1 + sd**2)
    assert_normal(drawn["x"][:, 0], RHO * gain * GIVEN, 1 - RHO**2 * gain, 0.003)
    assert_normal(drawn["y"][:, 0], gain * GIVEN, 1 - gain, 0.003)
    covariance = torch.cov(torch.cat([drawn["x"], drawn["y"]], 1).T)[0, 1]
    assert abs(float(covariance) - RHO * (1 - gain)) < 0.02


@pytest.mark.parametrize("conditioning", [Clean(), Replace()], ids=["clean", "replace"])
def test_evidence_on_a_marginal_variable_is_used(conditioning):
    """Only its unknown cells are integrated out."""
    grid = uniform_grid(20)
    sampled, marginal = (
        sample_pair(200, conditioning, solver=DDIM(1.0), grid=grid, marginal=names) for names in ((), ("y",))
    )
    assert torch.equal(sampled, marginal) and float(sampled.mean()) > 0.7


@pytest.mark.parametrize("steps", [1, 2, 10, 50])
@pytest.mark.parametrize("truth", [(0.9, 0.1), (0.97, 0.02, 0.01)], ids=str)
def test_a_category_is_sampled_with_its_probabilities(truth, steps):
    """At any number of steps."""
    rows, kernel = 20_000, UniformD3PMKernel()
    prior = torch.tensor(truth, dtype=torch.float64)

    def denoiser(states, times, observed):
        alpha_bar = torch.sigmoid(kernel.log_snr(times["k"]))[:, None]
        weights = prior * (alpha_bar * states["k"] + (1 - alpha_bar) / len(prior))
        return {"k": weights / weights.sum(1, keepdim=True)}

    drawn = sample(
        denoiser, {"k": kernel}, {"k": (len(truth),)}, {}, uniform_grid(steps), DDIM(), Clean(),
        Rng.for_rows(rows, "category", steps, len(truth)),
    )["k"]  # fmt: skip
    assert torch.equal(drawn.sum(1), torch.ones(rows).double()) and set(drawn.unique().tolist()) == {0, 1}
    assert float((drawn.mean(0) - prior).abs().sum() / 2) < 0.01


MIXTURE = MixtureOracle.default()
KERNELS = {name: UniformD3PMKernel() if name in MIXTURE.categories else GaussianKernel() for name in MIXTURE.names}
SHAPES = {name: (MIXTURE.categories.get(name, 1),) for name in MIXTURE.names}


@pytest.mark.parametrize("evidence", [(), ("binary", "s3"), ("s1", "s2", "s4", "five")], ids=str)
def test_any_subset_of_six_variables(evidence):
    """Means and variances of the unknown variables, of a Gaussian mixture with categories."""
    rows = 2_000
    truth = MIXTURE.sample(Rng.for_rows(1, "truth", *evidence))
    values = {name: truth[name].expand(rows) for name in evidence}
    given = {
        name: Evidence(code, torch.ones(rows, 1, dtype=torch.bool)) for name, code in MIXTURE.codes(values).items()
    }
    drawn = sample(
        oracle_denoiser(MIXTURE, KERNELS), KERNELS, SHAPES, given, log_snr_grid(25, KERNELS["s1"]), DPMSolver2M(),
        Clean(), Rng.for_rows(rows, "subset", *evidence),
    )  # fmt: skip
    posterior = MIXTURE.given({name: value[:1] for name, value in values.items()}, rows=1)
    for name in MIXTURE.names:
        if name in evidence:
            assert torch.equal(drawn[name], given[name].code)
        elif name in MIXTURE.categories:
            expected = posterior.probabilities(name)[0]
            error = (expected * (1 - expected) / rows).sqrt()
            assert ((drawn[name].mean(0) - expected).abs() < Z * error + 0.01).all(), name
        else:
            variance = float(posterior.variance(name)[0])
            error = math.sqrt(variance / rows)
            assert abs(float(drawn[name].mean() - posterior.mean(name)[0])) < Z * error + 0.02, name
            assert abs(float(drawn[name].var()) / variance - 1) < 0.15, name


def test_the_denoiser_at_the_prior_gives_the_posterior_mean():
    """For any prior state, which has no signal."""
    rows = 20
    truth = MIXTURE.sample(Rng.for_rows(rows, "read out"))
    values = {name: truth[name] for name in ("s1", "five")}
    given = {
        name: Evidence(code, torch.ones(rows, 1, dtype=torch.bool)) for name, code in MIXTURE.codes(values).items()
    }
    like = torch.zeros((), dtype=torch.float64)
    conditional = Conditional(KERNELS, SHAPES, given, (), like, Rng.for_rows(rows, "prior"))
    means = batch_mean(oracle_denoiser(MIXTURE, KERNELS), conditional, evaluations=2)
    posterior = MIXTURE.given(values)
    for name in ("s2", "s3", "s4"):
        torch.testing.assert_close(means[name][:, 0], posterior.mean(name))
    torch.testing.assert_close(means["binary"], posterior.probabilities("binary"))


def test_marginal_variables_are_integrated_out():
    """They stay at t = 1, so that the other variables are not conditioned on a draw of them."""
    rows = 4_000
    drawn = sample(
        oracle_denoiser(MIXTURE, KERNELS), KERNELS, SHAPES, {}, log_snr_grid(25, KERNELS["s1"]), DPMSolver2M(), Clean(),
        Rng.for_rows(rows, "marginal"), marginal=[name for name in MIXTURE.names if name != "binary"],
    )["binary"]  # fmt: skip
    expected = MIXTURE.given({}, rows=1).probabilities("binary")[0]
    error = (expected * (1 - expected) / rows).sqrt()
    assert ((drawn.mean(0) - expected).abs() < Z * error).all()
