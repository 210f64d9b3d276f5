"""The oracle agrees with scipy, numerical integration and its own draws."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.kernels.schedules import LinearSchedule
from metavoxel.rng import Rng
from metavoxel.testing import MixtureOracle

ORACLE = MixtureOracle.default()
KERNELS = {name: UniformD3PMKernel() if name in ORACLE.categories else GaussianKernel() for name in ORACLE.names}
Z = 5.0


def rows(count, *name):
    return Rng.for_rows(count, "oracle", *name)


def z_scores(x, expected):
    return (x.mean(0) - expected) / (x.std(0) / math.sqrt(len(x)))


@pytest.fixture(scope="module")
def draws():
    return ORACLE.sample(rows(50_000, "draws"))


def normal(scalars, component, index):
    """Marginal Gaussian of some scalars in one component, from scipy."""
    mean, covariance = ORACLE._means[component].numpy(), ORACLE._covariances[component].numpy()
    return stats.multivariate_normal(mean[index], covariance[np.ix_(index, index)])


def density(values):
    """Density of one row from scipy and the category tables; variables may be omitted."""
    index = [i for i, name in enumerate(ORACLE.scalars) if name in values]
    total = 0.0
    for component, weight in enumerate(ORACLE._weights.tolist()):
        if index:
            weight *= normal(ORACLE.scalars, component, index).pdf([values[ORACLE.scalars[i]] for i in index])
        for name, table in ORACLE._tables.items():
            if name in values:
                weight *= float(table[component, int(values[name])])
        total += weight
    return total


def row_of(values, row, names):
    return {name: float(values[name][row]) for name in names}


def test_six_variables_have_62_subsets():
    assert ORACLE.names == ("s1", "s2", "s3", "s4", "binary", "five")
    subsets = list(ORACLE.subsets())
    assert len(subsets) == len(set(subsets)) == 62


def test_scalars_are_approximately_standardised(draws):
    for name in ORACLE.scalars:
        assert abs(float(draws[name].mean())) < 0.3
        assert 0.7 < float(draws[name].std()) < 1.3


def test_variables_depend_on_each_other(draws):
    """Every variable depends on the others, so that errors of conditioning are detectable."""
    values = {name: value[:2000] for name, value in draws.items()}
    for name in ORACLE.scalars:
        others = ORACLE.given({other: values[other] for other in ORACLE.names if other != name})
        assert float(others.variance(name).mean()) < 0.6 * float(draws[name].var())


@pytest.mark.parametrize("names", [("s1",), ("binary",), ("s2", "s4"), ("s1", "five"), ORACLE.names])
def test_log_density(draws, names):
    values = {name: draws[name][:20] for name in names}
    expected = [math.log(density(row_of(values, row, names))) for row in range(20)]
    np.testing.assert_allclose(ORACLE.log_density(values).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize(
    "evidence",
    [
        *(
            pytest.param(names, marks=pytest.mark.slow)
            for names in ((), ("five",), ("s1", "s2", "s4", "five", "binary"))
        ),
        ("s1",),
        ("s1", "s3", "binary"),
    ],
)
def test_posterior_of_a_scalar_is_the_ratio_of_densities(draws, evidence):
    given = {name: draws[name][:4] for name in evidence}
    posterior = ORACLE.given(given, rows=4)
    median, tail = posterior.quantile("s3", 0.5), posterior.quantile("s3", 0.05)
    if "s3" in evidence:
        torch.testing.assert_close(posterior.mean("s3"), given["s3"])
        torch.testing.assert_close(median, given["s3"], rtol=0, atol=1e-6)
        assert float(posterior.variance("s3").max()) < 1e-10
        return
    for row in range(4):
        known = row_of(given, row, evidence)
        evidence_density = density(known) if known else 1.0

        def moment(power, low=-12.0, high=12.0, known=known, evidence_density=evidence_density):
            def integrand(x):
                return x**power * density({**known, "s3": x}) / evidence_density

            return integrate.quad(
                integrand, low, high, epsabs=1e-9, limit=200, points=(-1, 0, 1) if high > 1 else None
            )[0]

        assert moment(0) == pytest.approx(1, abs=1e-6)
        mean = moment(1)
        assert float(posterior.mean("s3")[row]) == pytest.approx(mean, abs=1e-6)
        assert float(posterior.variance("s3")[row]) == pytest.approx(moment(2) - mean**2, abs=1e-6)
        assert moment(0, high=float(median[row])) == pytest.approx(0.5, abs=1e-6)
        assert moment(0, high=float(tail[row])) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("evidence", [("s1",), ("binary",), ("s1", "s2", "s3", "s4"), ("s2", "binary")])
def test_class_probabilities_are_ratios_of_densities(draws, evidence):
    given = {name: draws[name][:5] for name in evidence}
    posterior = ORACLE.given(given)
    single, joint = posterior.probabilities("five"), posterior.probabilities("five", "binary")
    for row in range(5):
        known = row_of(given, row, evidence)
        expected = [density({**known, "five": k}) / density(known) for k in range(5)]
        np.testing.assert_allclose(single[row].numpy(), expected, rtol=1e-9)
        if "binary" not in evidence:
            pairs = [[density({**known, "five": k, "binary": b}) / density(known) for b in range(2)] for k in range(5)]
            np.testing.assert_allclose(joint[row].numpy(), pairs, rtol=1e-9)
    torch.testing.assert_close(joint.sum((1, 2)), torch.ones(5, dtype=torch.float64))


def test_log_prob_given_evidence_is_the_difference_of_densities(draws):
    values = {name: draws[name][:50] for name in ORACLE.names}
    evidence = {name: values[name] for name in ("s1", "five")}
    targets = {name: values[name] for name in ("s2", "s4", "binary")}
    conditional = ORACLE.given(evidence).log_prob(targets)
    expected = ORACLE.log_density({**evidence, **targets}) - ORACLE.log_density(evidence)
    torch.testing.assert_close(conditional, expected)


@pytest.mark.parametrize("evidence", [("s1",), ("s2", "five"), ("s1", "s2", "s3", "binary")])
def test_conditional_draws_have_the_stated_moments(draws, evidence):
    count = 20_000
    given = {name: draws[name][:1].expand(count) for name in evidence}
    posterior = ORACLE.given(given)
    sample = posterior.sample(rows(count, "conditional"))
    for name in evidence:
        torch.testing.assert_close(sample[name].double(), given[name].double(), rtol=0, atol=1e-6)
    free = [name for name in ORACLE.scalars if name not in evidence]
    for name in free:
        mean, variance = posterior.mean(name)[0], posterior.variance(name)[0]
        assert abs(float(z_scores(sample[name], mean))) < Z
        assert abs(float(z_scores((sample[name] - mean) ** 2, variance))) < Z
        assert abs(float(z_scores((sample[name] < posterior.quantile(name, 0.2)[0]).double(), 0.2))) < Z
    for name in set(ORACLE.categories) - set(evidence):
        classes = torch.nn.functional.one_hot(sample[name], ORACLE.categories[name]).double()
        assert float(z_scores(classes, posterior.probabilities(name)[0]).abs().max()) < Z
    # Dependence among the free variables: the mean joint log-density of draws is minus the entropy, for any seed.
    other = posterior.sample(rows(count, "another"))
    log_prob, log_prob_other = (posterior.log_prob({name: each[name] for name in free}) for each in (sample, other))
    z = (log_prob.mean() - log_prob_other.mean()) / ((log_prob.var() + log_prob_other.var()) / count).sqrt()
    assert abs(float(z)) < Z


def test_prediction_error_is_the_posterior_variance(draws):
    values = {name: value[:20_000] for name, value in draws.items()}
    posterior = ORACLE.given({name: values[name] for name in ("s1", "s2", "five")})
    error = (posterior.mean("s4") - values["s4"]) ** 2
    assert abs(float(z_scores(error - posterior.variance("s4"), 0.0))) < Z


def test_noisy_evidence_is_evidence_of_a_noised_value(draws):
    """x with error of sd e is equivalent to an exact x_t at the time where noise / signal is e."""
    noisy = {"s1": draws["s1"][:6] + 0.5}
    posterior = ORACLE.given(noisy, sds={"s1": 0.5})
    log_snr = {name: torch.full((6,), -math.inf, dtype=torch.float64) for name in ORACLE.names}
    log_snr["s1"] = torch.full((6,), -2 * math.log(0.5), dtype=torch.float64)
    states = ORACLE.codes({name: value[:6] for name, value in draws.items()})
    states["s1"] = noisy["s1"][:, None] * torch.sigmoid(log_snr["s1"]).sqrt()[:, None]
    same = ORACLE.given_states(states, log_snr)
    for name in ORACLE.scalars:
        torch.testing.assert_close(posterior.mean(name), same.mean(name))
        torch.testing.assert_close(posterior.variance(name), same.variance(name))
    assert float(posterior.variance("s1").min()) > 0.01


def test_denoiser_between_clean_and_absent(draws):
    """The estimate is the state at t = 0, and the posterior mean given the clean variables at t = 1."""
    values = {name: value[:50] for name, value in draws.items()}
    evidence = ("s2", "five")
    times = {name: torch.full((50,), float(name not in evidence), dtype=torch.float64) for name in ORACLE.names}
    noise = Rng.for_rows(50, "noise")
    states = {
        name: KERNELS[name].noise(code, times[name], rng=noise.fork(name)).state
        for name, code in ORACLE.codes(values).items()
    }
    x0_hat = ORACLE.denoiser(KERNELS)(states, times)
    exact = ORACLE.given({name: values[name] for name in evidence})
    for name in ORACLE.scalars:
        torch.testing.assert_close(x0_hat[name][:, 0], exact.mean(name))
    for name in ORACLE.categories:
        torch.testing.assert_close(x0_hat[name], exact.probabilities(name))
    torch.testing.assert_close(x0_hat["s2"], states["s2"])


def test_denoiser_is_the_regression_of_the_data_on_all_states(draws):
    """E[(x_0 - x0_hat) f(states)] is 0 for every f: here for x0_hat, each state, and products with a time."""
    count = len(draws["s1"])
    rng, codes = Rng.for_rows(count, "states"), ORACLE.codes(draws)
    times = {name: rng.fork("time", name).uniform((count,), dtype=torch.float64) for name in ORACLE.names}
    states = {
        name: KERNELS[name].noise(code, times[name], rng=rng.fork("noise", name)).state for name, code in codes.items()
    }
    x0_hat = ORACLE.denoiser(KERNELS)(states, times)
    features = torch.cat([torch.ones(count, 1, dtype=torch.float64), *states.values()], 1)
    features = torch.cat([features, features * torch.stack(list(times.values()), 1)[:, :1]], 1)
    for name in ORACLE.names:
        error = codes[name] - x0_hat[name]
        against = torch.cat([features, x0_hat[name]], 1)
        z = z_scores((error[:, :, None] * against[:, None, :]).flatten(1), 0.0)
        assert float(z.abs().max()) < Z, name


def test_denoiser_keeps_the_precision_of_codes_and_takes_times_of_cells(draws):
    values = {name: value[:3] for name, value in draws.items()}
    states = {name: code.float() for name, code in ORACLE.codes(values).items()}
    half = torch.full((3,), 0.5, dtype=torch.float64)
    denoise = ORACLE.denoiser(KERNELS)
    by_row = denoise(states, dict.fromkeys(ORACLE.names, half))
    by_cell = denoise(states, dict.fromkeys(ORACLE.names, half[:, None]))
    for name in ORACLE.names:
        assert by_row[name].dtype == torch.float32
        assert by_row[name].shape == states[name].shape
        assert torch.equal(by_row[name], by_cell[name])


def test_denoiser_accepts_other_schedules(draws):
    kernels = {**KERNELS, "s1": GaussianKernel(prediction="epsilon", schedule=LinearSchedule())}
    states = ORACLE.codes({name: value[:3] for name, value in draws.items()})
    times = dict.fromkeys(ORACLE.names, torch.ones(3, dtype=torch.float64))
    x0_hat = ORACLE.denoiser(kernels)(states, times)
    assert all(tensor.isfinite().all() for tensor in x0_hat.values())


def test_unsuitable_kernels_are_listed_in_one_error():
    with pytest.raises(ValueError, match=r"'s1' needs a kernel of type 'gaussian'.*'five' needs .* not None"):
        ORACLE.denoiser({name: UniformD3PMKernel() for name in ORACLE.names if name != "five"})


def test_unknown_evidence_is_an_error():
    with pytest.raises(KeyError, match="no variable age; the variables are s1, s2"):
        ORACLE.given({"age": torch.zeros(1)})


def test_impossible_categories_are_never_drawn_and_have_no_density():
    oracle = MixtureOracle(
        weights=(0.5, 0.5),
        scalars=("x",),
        means=torch.tensor([[-1.0], [1.0]]),
        covariances=torch.ones(2, 1, 1),
        categories={"group": torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])},
    )
    sample = oracle.sample(rows(5000, "impossible"))
    assert set(sample["group"].tolist()) == {0, 1}
    torch.testing.assert_close(oracle.given({"group": torch.tensor([1])}).mean("x"), torch.tensor([1.0]).double())
    assert oracle.log_density({"group": torch.tensor([2])}) == -math.inf
