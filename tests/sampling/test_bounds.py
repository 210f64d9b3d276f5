"""Rejection sampling: draws are within the schema's bounds, distributed as the truncated distribution."""

import math

import pytest
import torch
from exact_joint import ExactJoint, exact_model

from metavoxel.errors import BoundWarning
from metavoxel.inference.order import DrawRequest, joint_draws
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling
from metavoxel.testing import MixtureOracle

pytestmark = pytest.mark.filterwarnings("ignore::metavoxel.errors.BoundWarning")
"""Among this many rows, some have no accepted trial."""

ROWS = 2000
BOUNDS = {"x": (0.5, 1.5)}


@pytest.fixture(scope="module")
def oracle():
    """Two standard normal numbers with correlation .8."""
    covariances = torch.tensor([[[1.0, 0.8], [0.8, 1.0]]], dtype=torch.float64)
    return MixtureOracle(
        weights=[1.0], scalars=("x", "y"), means=torch.zeros(1, 2), covariances=covariances, categories={}
    )


def keys(rows=ROWS):
    return [f"row {row}" for row in range(rows)]


def normal_between(low, high):
    """Return mean and standard deviation of a standard normal distribution truncated to [low, high]."""
    density = [math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) for x in (low, high)]
    probability = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    mean = (density[0] - density[1]) / probability
    return mean, math.sqrt(1 + (low * density[0] - high * density[1]) / probability - mean**2)


def assert_mean(values, mean, sd):
    assert abs(float(values.double().mean()) - mean) < 5 * sd / math.sqrt(len(values)) + 0.005  # error of 50 steps


def test_draws_have_the_truncated_distribution(oracle):
    drawn = sample_codes(ExactJoint(oracle), {}, row_streams(0, keys(), 0), Sampling(steps=50), bounds=BOUNDS)
    x, y = drawn["x"][:, 0], drawn["y"][:, 0]
    assert float(x.min()) >= 0.5 and float(x.max()) <= 1.5
    mean, sd = normal_between(0.5, 1.5)
    assert_mean(x, mean, sd)
    assert_mean(y, 0.8 * mean, 1.0)  # a dependent number is redrawn with it
    assert_mean((x - mean).square(), sd**2, 0.1)


def test_a_row_does_not_depend_on_the_other_rows(oracle):
    model, sampling = ExactJoint(oracle), Sampling(steps=5)
    together = sample_codes(model, {}, row_streams(3, keys(40), 0), sampling, bounds=BOUNDS)
    order = [17, 4, 30]
    alone = sample_codes(model, {}, row_streams(3, [f"row {row}" for row in order], 0), sampling, bounds=BOUNDS)
    for name in together:
        torch.testing.assert_close(alone[name], together[name][order])


def test_accepted_rows_are_unchanged(oracle):
    model, sampling = ExactJoint(oracle), Sampling(steps=5)
    free, bounded = (
        sample_codes(model, {}, row_streams(3, keys(200), 0), sampling, bounds=bounds) for bounds in ({}, BOUNDS)
    )
    kept = (free["x"][:, 0] >= 0.5) & (free["x"][:, 0] <= 1.5)
    assert 0 < int(kept.sum()) < 200
    assert all(torch.equal(bounded[name][kept], free[name][kept]) for name in free)


def test_marginal_variables_have_no_bounds(oracle):
    model = ExactJoint(oracle)
    sample_codes(model, {}, row_streams(0, keys(10), 0), Sampling(steps=5), marginal=["x"], bounds=BOUNDS)
    assert model.rows == 50


def test_values_without_an_accepted_trial_are_clipped(oracle):
    with pytest.warns(BoundWarning, match="x: draws still outside 'valid' after 16 trials were clipped to its bound"):
        drawn = sample_codes(
            ExactJoint(oracle), {}, row_streams(0, keys(20), 0), Sampling(steps=2), bounds={"x": (40.0, 50.0)}
        )
    assert torch.equal(drawn["x"], torch.full((20, 1), 40.0))


@pytest.mark.parametrize("in_turn", [True, False])
def test_joint_draws_are_within_bounds(oracle, in_turn):
    request = DrawRequest(("y", "x"), in_turn, (), {})
    for drawn in joint_draws(ExactJoint(oracle), {}, request, keys(300), 2, 0, Sampling(steps=5), BOUNDS):
        assert float(drawn.codes["x"].min()) >= 0.5 and float(drawn.codes["x"].max()) <= 1.5


def test_given_values_have_no_bounds(oracle):
    """At any value; a row without the evidence has bounds."""
    model, known = ExactJoint(oracle), torch.tensor([[True], [False]])
    given = {"x": Evidence(torch.tensor([[9.0], [9.0]]), known)}
    drawn = sample_codes(model, given, row_streams(0, keys(2), 0), Sampling(steps=5), bounds=BOUNDS)["x"]
    assert float(drawn[0]) == 9 and 0.5 <= float(drawn[1]) <= 1.5


@pytest.mark.slow
def test_variables_drawn_in_turn_are_redrawn_together(oracle):
    """So the distribution of the first is conditional on the last being within its bounds."""
    request = DrawRequest(("y", "x"), True, (), {})
    (drawn,) = joint_draws(ExactJoint(oracle), {}, request, keys(), 1, 0, Sampling(steps=50), BOUNDS)
    mean, _ = normal_between(0.5, 1.5)
    assert_mean(drawn.codes["y"][:, 0], 0.8 * mean, 1.0)


def test_samples_are_valid_values_of_the_schema(oracle, tmp_path):
    """In the variable's unit, also with a logarithm."""
    logarithmic = {"type": "continuous", "transform": "log", "valid": [1.0, 2.0], "codec": {
        "type": "linear", "scale": "range", "range": [math.exp(-1), math.exp(1)], "transform": "log"}}  # fmt: skip
    model = exact_model(oracle, tmp_path, x=logarithmic)
    low, high = model.bounds["x"]
    assert (low, high) == pytest.approx((0.0, math.log(2))) and list(model.bounds) == ["x"]
    drawn = model.sample(500, steps=5)["x"]
    assert float(drawn.min()) >= 1 and float(drawn.max()) <= 2
    assert 1.2 < float(drawn.mean()) < 1.6


def test_a_bound_without_a_code_is_infinite(oracle, tmp_path):
    spec = {"type": "continuous", "transform": "log", "valid": [-1.0, 100.0]}
    model = exact_model(oracle, tmp_path, x=spec)
    assert model.bounds["x"] == (-math.inf, pytest.approx(math.log(100), abs=1e-5))
