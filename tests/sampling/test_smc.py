"""Sequential Monte Carlo against exact conditionals, with an exact denoiser."""

import exact_pair
import pytest
import torch
from exact_pair import GIVEN, MEAN, RHO, VARIANCE, Z, assert_normal, last_of
from hypothesis import given as examples
from hypothesis import strategies as st

from metavoxel.errors import NumericalError
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.conditioning import Replace
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.smc import log_weights_of, particle_trajectory, resample, systematic
from metavoxel.sampling.solvers import DDIM, DPMSolver2M
from metavoxel.sampling.times import log_snr_grid, uniform_grid
from metavoxel.sampling.trajectory import sample_trajectory
from metavoxel.testing import MixtureOracle

LIKE = torch.zeros((), dtype=torch.float64)
STOCHASTIC = DPMSolver2M(1.0)


def sample_pair(rows, steps, particles, *, solver=STOCHASTIC, **options):
    pair = exact_pair.question(rows, "smc", **options)
    grid = log_snr_grid(steps, exact_pair.KERNELS["x"])
    return last_of(particle_trajectory(exact_pair.denoiser, pair, grid, particles=particles, solver=solver))


@pytest.mark.parametrize("marginal", [(), ("y",)], ids=["sampled", "marginal"])
def test_a_normal_pair(marginal):
    """The conditional with one shared time: mean 1.35 and variance .19, where replacement gives .94 and .31."""
    drawn = sample_pair(1_000, 40, 64, marginal=marginal)
    assert torch.equal(drawn["y"], torch.full_like(drawn["y"], GIVEN))
    assert_normal(drawn["x"][:, 0], MEAN, VARIANCE, 0.02)


def test_a_normal_pair_by_first_order_steps():
    """As in the published algorithm, which needs many more steps."""
    drawn = sample_pair(600, 120, 32, solver=DDIM(1.0))
    assert_normal(drawn["x"][:, 0], MEAN, VARIANCE, 0.02)


def test_more_particles_have_less_bias():
    """Two already have less than replacement, which is equivalent to one."""
    grid = uniform_grid(50)
    pair = exact_pair.question(2_000, "few")
    one = last_of(sample_trajectory(exact_pair.denoiser, pair, grid, solver=DDIM(1.0), conditioning=Replace()))
    means = [float(one["x"].mean())] + [float(sample_pair(2_000, 50, k)["x"].mean()) for k in (2, 8)]
    assert means[0] + 0.08 < means[1] < means[2] - 0.08 and means[2] < MEAN


def test_a_measurement_with_noise_is_conditioned_on_down_to_its_time():
    """y = 1.5 with error .5, against Bayes' rule; both variables are sampled below that time."""
    sd = 0.5
    drawn = sample_pair(1_000, 40, 32, sd=sd)
    gain = 1 / (1 + sd**2)
    assert_normal(drawn["x"][:, 0], RHO * gain * GIVEN, 1 - RHO**2 * gain, 0.03)
    assert_normal(drawn["y"][:, 0], gain * GIVEN, 1 - gain, 0.03)


CLUSTERS = MixtureOracle(
    weights=[0.5, 0.5],
    scalars=("x",),
    means=torch.tensor([[-1.0], [1.0]]),
    covariances=torch.full((2, 1, 1), 0.09),
    categories={"k": torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.3, 0.6]])},
)
KERNELS = {"x": GaussianKernel(), "k": UniformD3PMKernel()}


def sample_clusters(values, *, rows=1_000, particles=16, steps=40, soft_end=False):
    exact = CLUSTERS.denoiser(KERNELS)
    codes = CLUSTERS.codes({name: value.expand(rows) for name, value in values.items()})
    given = {name: Evidence(code, torch.ones(rows, 1, dtype=torch.bool)) for name, code in codes.items()}
    conditional = Conditional(KERNELS, {"x": (1,), "k": (3,)}, given, (), LIKE, Rng.for_rows(rows, "clusters"))
    trajectory = particle_trajectory(
        lambda x, t, _: exact(x, t),
        conditional,
        uniform_grid(steps),
        particles=particles,
        solver=DDIM(1.0),
        soft_end=soft_end,
    )
    return last_of(trajectory), CLUSTERS.given(values)


def test_a_number_given_a_category_has_two_modes():
    drawn, truth = sample_clusters({"k": torch.tensor([1])})
    x, right = drawn["x"][:, 0], float(truth.mean("x") + 1) / 2
    assert abs(float((x > 0).double().mean()) - right) < Z * (right * (1 - right) / len(x)) ** 0.5 + 0.02
    assert_normal(x[x > 0], 1.0, 0.09, 0.03)
    assert_normal(x[x < 0], -1.0, 0.09, 0.03)


@pytest.mark.parametrize("soft_end", [False, True], ids=["drawn", "probabilities"])
def test_a_category_given_a_number(soft_end):
    drawn, truth = sample_clusters({"x": torch.tensor([-0.4], dtype=torch.float64)}, soft_end=soft_end)
    expected = truth.probabilities("k")[0]
    error = (expected * (1 - expected) / len(drawn["k"])).sqrt()
    assert ((drawn["k"].mean(0) - expected).abs() < Z * error + 0.02).all()
    assert bool(((drawn["k"] > 0) & (drawn["k"] < 1)).any()) == soft_end


def test_two_categories_by_enumeration():
    """p(b | a) from a table p(a, b), with one shared time."""
    table = torch.tensor([[0.3, 0.05, 0.15], [0.02, 0.4, 0.08]], dtype=torch.float64)
    kernels, rows = {"a": UniformD3PMKernel(), "b": UniformD3PMKernel()}, 3_000

    def exact(states, times, observed):
        likelihood = {}
        for name, state in states.items():
            kept = torch.sigmoid(kernels[name].log_snr(times[name]))[:, None]
            likelihood[name] = kept * state + (1 - kept) / state.shape[1]
        joint = table * likelihood["a"][:, :, None] * likelihood["b"][:, None, :]
        joint = joint / joint.sum((1, 2), keepdim=True)
        return {"a": joint.sum(2), "b": joint.sum(1)}

    code = torch.eye(2, dtype=torch.float64)[torch.ones(rows, dtype=torch.long)]
    given = {"a": Evidence(code, torch.ones(rows, 1, dtype=torch.bool))}
    conditional = Conditional(kernels, {"a": (2,), "b": (3,)}, given, (), LIKE, Rng.for_rows(rows, "enumerated"))
    drawn = last_of(particle_trajectory(exact, conditional, uniform_grid(30), particles=16, solver=DDIM(1.0)))
    expected = table[1] / table[1].sum()
    assert float((drawn["b"].mean(0) - expected).abs().sum() / 2) < 0.03


def test_half_an_image_given_the_other_half():
    """Cells are a common standard normal number plus independent noise of sd .1."""
    rows, kernel, shape = 200, GaussianKernel(), (1, 2, 4)

    def exact(states, times, observed):
        alpha_bar = torch.sigmoid(kernel.log_snr(times["scan"]))[:, None, None, None]
        cell = 0.01 + (1 - alpha_bar) / alpha_bar.clamp_min(1e-12)  # variance of a scaled cell given the common number
        scaled = states["scan"] / alpha_bar.clamp_min(1e-12).sqrt()
        number = (scaled / cell).sum((1, 2, 3), keepdim=True) / (1 + 8 / cell)
        return {"scan": number + 0.01 / cell * (scaled - number)}

    known = torch.zeros(rows, 1, 2, 4, dtype=torch.bool)
    known[..., :2] = True
    code = torch.where(known, torch.tensor(1.2, dtype=torch.float64), torch.nan)
    conditional = Conditional(
        {"scan": kernel}, {"scan": shape}, {"scan": Evidence(code, known)}, (), LIKE, Rng.for_rows(rows, "im")
    )
    drawn = last_of(particle_trajectory(exact, conditional, uniform_grid(60), particles=16, solver=DPMSolver2M(1.0)))
    scan = drawn["scan"]
    assert (scan[known] == 1.2).all()
    right = scan[..., 2:].mean((1, 2, 3))
    assert abs(float(right.mean()) - 1.2 * 4 / (4 + 0.01)) < 0.05 and float(right.std()) < 0.12


def test_all_particles_of_a_row_are_evaluated_in_one_call():
    seen = []

    def watch(states, times, observed):
        seen.append((len(states["x"]), float(times["y"][0]), bool(observed["y"].any())))
        return exact_pair.denoiser(states, times, observed)

    pair = exact_pair.question(3, "seen")
    trajectory = particle_trajectory(watch, pair, uniform_grid(4), particles=5, solver=DDIM(1.0))
    assert [len(states["x"]) for states in trajectory] == [15, 15, 15, 3]
    assert seen == [(15, t, False) for t in (1, 0.75, 0.5, 0.25)]


def test_a_weight_that_is_not_finite_is_named():
    pair = exact_pair.question(2, "bad")
    code = torch.tensor([[1.0], [torch.inf]], dtype=torch.float64)
    pair = pair._replace(given={"y": pair.given["y"]._replace(code=code)})

    def zeros(states, times, observed):
        return {name: torch.zeros_like(state) for name, state in states.items()}

    with pytest.raises(
        NumericalError, match=r"variable 'y': the weight of a particle is not finite at step 1 \(t = 1\)"
    ):
        list(particle_trajectory(zeros, pair, uniform_grid(4), particles=4, solver=DDIM(1.0)))


@examples(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.floats(1e-6, 1 - 1e-6), st.integers(1, 12))
def test_systematic_resampling_is_proportional(weights, offset, count):
    """Each particle's number of copies is within one of its expectation, and 0 for weight 0."""
    weights = torch.tensor([weights], dtype=torch.float64) + (0 if max(weights) > 1e-3 else 1)
    drawn = systematic(weights, torch.tensor([[offset]], dtype=torch.float64), count)[0]
    share = weights[0] / weights.sum()
    times = torch.bincount(drawn, minlength=weights.shape[1])
    assert drawn.shape == (count,) and (drawn.diff() >= 0).all()
    assert ((times - count * share).abs() < 1 + 1e-9).all()
    assert not times[weights[0] == 0].any()


def test_resampling_needs_an_effective_sample_size_below_half():
    even = torch.zeros(1, 4, dtype=torch.float64)
    two = torch.tensor([[0.0, 0.0, -5.0, -5.0]], dtype=torch.float64)
    one = torch.tensor([[-9.0, 0.0, -9.0, -9.0]], dtype=torch.float64)
    weights, parents = resample(torch.cat([even, two, one]), torch.full((3, 1), 0.5, dtype=torch.float64))
    assert parents.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 1, 1, 1]]
    assert torch.equal(weights[:2], torch.cat([even, two])) and not weights[2].any()


def test_weights_are_of_known_cells_with_a_density():
    log_prob = torch.tensor([[[-1.0, -7.0, -torch.inf, -2.0]], [[-3.0, torch.nan, -torch.inf, -torch.inf]]])
    known = torch.tensor([[[True, False, True, False]]])
    assert log_weights_of(log_prob, known, 2).tolist() == [[0, -2]]
    known = torch.tensor([[[False, False, False, True]]])
    weights = log_weights_of(log_prob, known, 2)
    assert weights[0, 0] == 0 and torch.isfinite(weights).all() and weights[0, 1].exp() == 0
