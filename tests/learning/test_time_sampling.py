"""The law of times: which questions a model is trained for, and how often."""

import math

import pytest
import torch

from metavoxel.learning import time_sampling as law
from metavoxel.learning.time_sampling import evidence_times, shared_times
from metavoxel.rng import Rng

ROWS, VARIABLES, Z = 40_000, 4, 5.0


@pytest.fixture(scope="module")
def drawn():
    return evidence_times(torch.ones(ROWS, VARIABLES, dtype=torch.bool), Rng.for_rows(ROWS, "times"))


def assert_share(truth, expected):
    """A share of rows, to Z standard errors."""
    error = math.sqrt(expected * (1 - expected) / len(truth))
    assert abs(float(truth.double().mean()) - expected) < Z * error


def test_observed_is_clean_and_nothing_else_is(drawn):
    assert drawn.t.dtype == torch.float64
    assert torch.equal(drawn.t == 0, drawn.observed)
    assert not drawn.observed.all(1).any(), "a row without anything to learn"


def test_sizes_of_the_evidence(drawn):
    """One target and no evidence are frequent; the other sizes are equally so."""
    size = drawn.observed.sum(1)
    even = (1 - law.SINGLE_TARGET_SHARE - law.NO_EVIDENCE_SHARE) / VARIABLES
    extra = {0: law.NO_EVIDENCE_SHARE, VARIABLES - 1: law.SINGLE_TARGET_SHARE}
    for known in range(VARIABLES):
        assert_share(size == known, even + extra.get(known, 0.0))


def test_every_variable_is_evidence_equally_often(drawn):
    share = float(drawn.observed.double().mean())
    for variable in range(VARIABLES):
        assert_share(drawn.observed[:, variable], share)


def test_the_read_out_is_trained(drawn):
    """All unknown at t = 1: a question is answered there in one evaluation."""
    unknown = ~drawn.observed
    all_end = ((drawn.t == 1) | drawn.observed).all(1)
    assert_share(all_end, law.READ_OUT_SHARE)
    assert ((drawn.t[unknown] > 0) & (drawn.t[unknown] <= 1)).all()


def test_the_share_of_the_read_out_may_differ_by_row():
    share = torch.cat([torch.zeros(ROWS), torch.ones(ROWS)])
    drawn = evidence_times(torch.ones(2 * ROWS, 3, dtype=torch.bool), Rng.for_rows(2 * ROWS, "share"), read_out=share)
    noisy = ((drawn.t > 0) & (drawn.t < 1)).any(1)
    assert not noisy[ROWS:].any()
    assert noisy[:ROWS].double().mean() > 0.5


def test_half_of_the_rows_share_one_time(drawn):
    between = (drawn.t > 0) & (drawn.t < 1)
    several = between.sum(1) > 1
    low = torch.where(between, drawn.t, 2.0).amin(1)
    high = torch.where(between, drawn.t, -1.0).amax(1)
    assert_share((low == high)[several], law.SHARED_SHARE)


def test_times_between_are_uniform(drawn):
    between = drawn.t[(drawn.t > 0) & (drawn.t < 1)]
    # Rows that share one time repeat it, so there are at least a quarter as many independent ones.
    error = 1 / math.sqrt(12 * len(between) / 4)
    assert abs(float(between.mean()) - 0.5) < Z * error
    assert abs(float(between.square().mean()) - 1 / 3) < Z * error


def test_some_variables_are_marginalised_beside_others_that_are_walked(drawn):
    some = ((drawn.t == 1).any(1)) & (((drawn.t > 0) & (drawn.t < 1)).any(1))
    assert float(some.double().mean()) > 0.03


def test_what_is_absent_is_never_evidence():
    present = Rng.for_rows(ROWS, "present").uniform((ROWS, VARIABLES)) < 0.6
    drawn = evidence_times(present, Rng.for_rows(ROWS, "absent"))
    assert not (drawn.observed & ~present).any()
    assert (drawn.t[~present] == 1).all()
    some = present.any(1)
    assert not ((drawn.observed == present).all(1) & some).any(), "a row whose every datum is given teaches nothing"


def test_nothing_present():
    drawn = evidence_times(torch.zeros(3, 2, dtype=torch.bool), Rng.for_rows(3, "nothing"))
    assert (drawn.t == 1).all() and not drawn.observed.any()


def test_a_single_variable():
    drawn = evidence_times(torch.ones(ROWS, 1, dtype=torch.bool), Rng.for_rows(ROWS, "single"))
    assert not drawn.observed.any()
    assert_share(drawn.t[:, 0] == 1, law.READ_OUT_SHARE)


def test_a_row_has_its_own_times():
    rng, present = Rng.for_rows(9, "own"), torch.ones(9, VARIABLES, dtype=torch.bool)
    whole, order = evidence_times(present, rng), torch.tensor([7, 2])
    part = evidence_times(present[order], rng[order])
    assert torch.equal(part.t, whole.t[order]) and torch.equal(part.observed, whole.observed[order])


def test_the_papers_times():
    drawn = shared_times(torch.ones(ROWS, 3, dtype=torch.bool), Rng.for_rows(ROWS, "shared"))
    assert torch.equal(drawn.t, drawn.t[:, :1].expand(ROWS, 3)) and not drawn.observed.any()
    assert abs(float(drawn.t[:, 0].mean()) - 0.5) < Z / math.sqrt(12 * ROWS)


def test_questions_are_asked_by_half_of_the_rows():
    """The named evidence sets, each as often; a row that misses a part of one takes the rest."""
    questions = torch.tensor([[True, True, False, False], [False, False, False, True]])
    present = torch.ones(ROWS, 4, dtype=torch.bool)
    present[: ROWS // 2, 0] = False
    drawn = evidence_times(present, Rng.for_rows(ROWS, "questions"), questions=questions)
    assert torch.equal(drawn.t == 0, drawn.observed) and not (drawn.observed & ~present).any()
    without = evidence_times(present[ROWS // 2 :], Rng.for_rows(ROWS, "usual")[ROWS // 2 :])
    for question in questions:
        usual = float((without.observed == question).all(1).double().mean())
        expected = usual / 2 + 1 / 4
        assert_share((drawn.observed[ROWS // 2 :] == question).all(1), expected)
    assert (drawn.observed[: ROWS // 2] == torch.tensor([False, True, False, False])).all(1).any()


def test_draws_are_taught_by_as_many_rows_as_are_asked_for():
    """All that is unknown has one time between, in these rows; the others are what they are without them."""
    present = torch.ones(ROWS, 4, dtype=torch.bool)
    present[: ROWS // 2, 0] = False
    drawn, usual = (evidence_times(present, Rng.for_rows(ROWS, "walks"), draw_share=share) for share in (0.8, 0.0))
    assert torch.equal(drawn.observed, usual.observed) and (drawn.t[~present] == 1).all()
    unknown = present & ~drawn.observed

    def together(times):
        first = torch.where(unknown, times.t, 2.0).amin(1, keepdim=True)
        return ((times.t == first) | ~unknown).all(1) & (first[:, 0] < 1)

    expected = 0.8 + 0.2 * float(together(usual).double().mean())
    assert_share(together(drawn), expected)
    whole = evidence_times(present, Rng.for_rows(ROWS, "walks"), draw_share=1.0)
    assert together(whole).all() and (whole.t[unknown] < 1).all()


def test_a_power_makes_little_noise_frequent():
    """P(u^2 < x) is the square root of x; the ends stay where they are."""
    present = torch.ones(ROWS, 2, dtype=torch.bool)
    plain, squared = (evidence_times(present, Rng.for_rows(ROWS, "power"), power=power) for power in (1.0, 2.0))
    assert torch.equal(plain.t == 1, squared.t == 1) and torch.equal(plain.observed, squared.observed)
    between = squared.t[(squared.t > 0) & (squared.t < 1)]
    assert_share(between < 0.04, 0.2)


def test_a_seventh_variable_leaves_the_times_of_six_alone():
    """Where one is between the ends in both, it is the same, wherever the seventh stands."""
    six = ["T1w", "age", "sex", "site", "score", "height"]
    seven = [*six[:2], "weight", *six[2:]]
    rng = Rng.for_rows(ROWS, "seventh")
    few, many = (evidence_times(torch.ones(ROWS, len(n), dtype=torch.bool), rng[:], names=n).t for n in (six, seven))
    many = many[:, [seven.index(name) for name in six]]
    between = (few > 0) & (few < 1) & (many > 0) & (many < 1)
    assert float(between.double().mean()) > 0.05 and torch.equal(few[between], many[between])
