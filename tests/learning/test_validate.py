"""Losses that judge a model that is to draw."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch

from metavoxel.joint import JointModel
from metavoxel.learning.codes import CodeBank
from metavoxel.learning.times import evidence_times
from metavoxel.learning.validate import Errors, drawing_losses
from metavoxel.rng import Rng
from metavoxel.schema import parse_schema

ROWS = 4000
TINY = {"type": "transformer", "width": 16, "depth": 1, "heads": 2}


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_the_loss_of_normal_numbers_is_what_a_normal_law_leaves(correlation):
    """All at one time, nothing given: v = signal noise - noise x_0 has an expectation of 0 where two numbers are
    independent, and one known along the axes of their law where they are not."""
    variables = {"a": {"type": "continuous"}, "b": {"type": "continuous"}}
    schema = parse_schema({"cohort": {"table": "x.csv"}, "variables": variables, "backbone": TINY}, folder=Path())
    joint = JointModel(schema.variables, {"a": (1,), "b": (1,)}, schema.backbone, shared_time=False)
    first, second = Rng.for_rows(ROWS, "normal").normal((ROWS, 2)).T
    second = correlation * first + math.sqrt(1 - correlation**2) * second
    everyone = torch.ones(ROWS, dtype=torch.bool)
    banks = {
        name: CodeBank(everyone, code[:, None, None], None, None, None) for name, code in (("a", first), ("b", second))
    }
    joint.fit({name: bank.mean[:, 0] for name, bank in banks.items()}, dict.fromkeys(banks, everyone))
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    times = partial(evidence_times, draw_share=1.0, questions=nothing, question_share=1.0)
    with torch.no_grad():
        losses = drawing_losses(joint, banks, torch.arange(ROWS), times, seed=0)
    # Along an axis of variance s: v given x_t is of variance s / (signal^2 s + noise^2), here its mean over times.
    t = torch.rand(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signal = joint.kernels["a"].scales(t)[0].square()
    expected = sum(float((s / (signal * s + 1 - signal)).mean()) / 2 for s in (1 + correlation, 1 - correlation))
    assert losses == pytest.approx({"a": expected, "b": expected}, rel=0.05)


def test_errors_and_losses_count_by_the_rows_that_teach_them():
    assert Errors(1.0, 0.5).mixed(0.1, 0.75) == pytest.approx((0.325, 0.2))
