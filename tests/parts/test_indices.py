"""Codes held as class indices, and classes drawn by inversion."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from metavoxel.parts.indices import classes_of, drawn_classes, drawn_where, one_hot, probability_of
from metavoxel.rng import Rng

LIMIT = 1e-6
"""Least p-value of a test."""
indices = st.lists(st.integers(-1, 4), min_size=1, max_size=12).map(lambda found: torch.tensor(found)[:, None, None])


@settings(deadline=None)
@given(indices)
def test_both_forms_are_one_code(index):
    code = one_hot(index[:, 0], 5)
    assert code.shape == (len(index), 5, 1) and code.dtype == torch.float32
    assert torch.equal(code.sum(1) > 0, index[:, 0] >= 0) and torch.equal(classes_of(code), classes_of(index))
    known = index.clamp_min(0)
    assert torch.equal(probability_of(code, known), probability_of(code, one_hot(known[:, 0], 5)))


def test_classes_are_drawn_with_their_probabilities():
    """The sums of probabilities need not be 1, and a class of probability 0 is never drawn."""
    rows, weights = 40_000, torch.tensor([0.0, 3.0, 0.5, 0.0, 1.5, 0.01, 0.0])
    uniform = Rng.for_rows(rows, "inversion").uniform((rows, 1, 2), dtype=torch.float64)
    drawn = drawn_classes(weights[None, :, None].expand(rows, -1, 2), uniform)
    assert drawn.shape == (rows, 1, 2) and drawn.dtype == torch.int64
    for cell in range(2):
        counts = torch.bincount(drawn[:, 0, cell], minlength=len(weights))
        assert not counts[weights == 0].any()
        expected = weights[weights > 0].double() / weights.double().sum() * rows
        assert stats.chisquare(counts[weights > 0].numpy(), expected.numpy()).pvalue > LIMIT


def test_ends_of_the_unit_interval_are_classes_of_probability():
    weights = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    for place, index in ((2.0**-53, 1), (0.24999, 1), (0.25, 3), (1 - 2.0**-53, 3)):
        assert drawn_classes(weights, torch.tensor([[place]], dtype=torch.float64)).item() == index


def test_a_rare_class_among_many_is_drawn():
    """Cumulative sums in single precision would lose it."""
    classes, rows = 32_000, 2_000
    weights = torch.full((1, classes), 1 / classes)
    rng = Rng.for_rows(rows, "many").uniform((rows, 1), dtype=torch.float64)
    drawn = drawn_classes(weights.expand(rows, -1), rng)[:, 0]
    assert stats.kstest(((drawn + 0.5) / classes).numpy(), "uniform").pvalue > LIMIT


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_other_cells_do_not_change(seed):
    rng = Rng.for_rows(3, "some", seed)
    chosen, other = rng.uniform((3, 1, 2, 4)) < 0.5, torch.arange(24).reshape(3, 1, 2, 4)
    probabilities = torch.softmax(rng.normal((3, 24, 2, 4)), 1)
    uniform = rng.uniform((3, 1, 2, 4), dtype=torch.float64)
    found = drawn_where(chosen, probabilities, uniform, other)
    assert torch.equal(found, torch.where(chosen, drawn_classes(probabilities, uniform), other))
