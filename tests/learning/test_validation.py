"""Held-out losses against known values, and the choice of network weights."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.time_sampling import evidence_times
from metavoxel.learning.validation import HeldOutLoss, RowLosses, best_weight, validation_lines
from metavoxel.network.joint import JointModel
from metavoxel.rng import Rng
from metavoxel.schema import parse_schema

ROWS = 2000
TINY = {"type": "transformer", "width": 16, "depth": 1, "heads": 2}
NUMBERS = st.floats(-5, 5)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_held_out_loss_of_a_gaussian_pair_is_exact(correlation):
    """Without evidence and at a shared time, the variance of v = signal noise - noise x_0 given x_t is known along the
    principal axes."""
    variables = {"a": {"type": "continuous"}, "b": {"type": "continuous"}}
    schema = parse_schema({"cohort": {"table": "x.csv"}, "variables": variables, "backbone": TINY}, folder=Path())
    joint = JointModel(schema.variables, {"a": (1,), "b": (1,)}, schema.backbone, shared_time=False)
    first, second = Rng.for_rows(ROWS, "normal").normal((ROWS, 2)).T
    second = correlation * first + math.sqrt(1 - correlation**2) * second
    present = torch.ones(ROWS, dtype=torch.bool)
    caches = {
        name: LatentCache(present, code[:, None, None], None, None, None)
        for name, code in (("a", first), ("b", second))
    }
    joint.baseline.fit({name: cache.mean[:, 0] for name, cache in caches.items()}, dict.fromkeys(caches, present))
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    times = partial(evidence_times, draw_share=1.0, questions=nothing, question_share=1.0)
    losses = HeldOutLoss(joint, caches, torch.arange(ROWS), times, seed=0).evaluate()
    # Along an axis of variance s, v given x_t has variance s / (signal^2 s + noise^2), averaged over times here.
    t = torch.rand(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signal = joint.kernels["a"].scales(t)[0].square()
    expected = sum(float((s / (signal * s + 1 - signal)).mean()) / 2 for s in (1 + correlation, 1 - correlation))
    for one in losses.values():
        assert one.loss == one.bound == one.baseline == pytest.approx(expected, rel=0.05)
        assert one.network_weight == 0 and one.rows == ROWS
    assert joint.network_weights.eq(1).all()


def row_losses(errors, corrections):
    """Squared errors after subtracting the corrections with weights 0, .5 and 1."""
    count = torch.ones(len(errors), dtype=torch.float64)
    return [RowLosses((errors - weight * corrections).square(), count) for weight in (0.0, 0.5, 1.0)]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=12))
def test_the_weight_lowers_the_bound_and_the_change_is_exact(pairs):
    errors, corrections = torch.tensor(pairs, dtype=torch.float64).T
    weight, change, bound = best_weight(*row_losses(errors, corrections))
    exact = (errors - weight * corrections).square().mean() - errors.square().mean()
    assert 0 <= weight <= 1 and change == pytest.approx(float(exact), abs=1e-6)
    assert change <= bound <= 0


def test_the_weight_is_large_for_many_consistent_rows_and_small_for_few():
    rng = Rng.for_rows(200, "weights")
    errors = rng.fork("errors").normal((200,)).double()
    accurate = errors + 0.3 * rng.fork("noise").normal((200,)).double()
    assert best_weight(*row_losses(errors, accurate))[0] >= 0.85
    assert best_weight(*row_losses(errors[:1], accurate[:1]))[0] == 0
    weights = [
        best_weight(*row_losses(*Rng.for_rows(2, "chance", number).normal((2, 2)).double().T))[0]
        for number in range(200)
    ]
    assert sum(weight > 0.1 for weight in weights) / len(weights) < 0.2
    useless = rng.fork("useless").normal((200,)).double()
    assert best_weight(*row_losses(errors, useless))[0] <= 0.1


def test_printed_lines():
    (line,) = validation_lines({"age": {"loss": 0.5, "baseline": 0.75, "network_weight": 0.4, "rows": 12}})
    assert line == (
        "age: held-out denoising loss 0.500, of the baseline alone 0.750; network weight 0.4, judged on 12 rows"
    )
