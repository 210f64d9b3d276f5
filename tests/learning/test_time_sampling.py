"""Distribution of sampled times and conditioning masks."""

import math

import pytest
import torch
from scipy import stats

from metavoxel.learning import time_sampling as sampling
from metavoxel.learning.time_sampling import evidence_times, shared_times
from metavoxel.rng import Rng

ROWS, VARIABLES, Z = 40_000, 4, 5.0


@pytest.fixture(scope="module")
def drawn():
    return evidence_times(torch.ones(ROWS, VARIABLES, dtype=torch.bool), Rng.for_rows(ROWS, "times"))


def assert_share(truth, expected):
    """Check a share of rows to Z standard errors."""
    error = math.sqrt(expected * (1 - expected) / len(truth))
    assert abs(float(truth.double().mean()) - expected) < Z * error


def test_exactly_the_observed_variables_are_clean(drawn):
    assert drawn.t.dtype == torch.float64
    assert torch.equal(drawn.t == 0, drawn.observed)
    assert not drawn.observed.all(1).any(), "a row without a target"


def test_sizes_of_the_evidence(drawn):
    """Single targets and no evidence are oversampled; the other sizes are equally frequent."""
    size = drawn.observed.sum(1)
    even = (1 - sampling.SINGLE_TARGET_SHARE - sampling.NO_EVIDENCE_SHARE) / VARIABLES
    extra = {0: sampling.NO_EVIDENCE_SHARE, VARIABLES - 1: sampling.SINGLE_TARGET_SHARE}
    for known in range(VARIABLES):
        assert_share(size == known, even + extra.get(known, 0.0))


def test_every_variable_is_evidence_equally_often(drawn):
    share = float(drawn.observed.double().mean())
    for variable in range(VARIABLES):
        assert_share(drawn.observed[:, variable], share)


def test_share_of_posterior_mean_rows(drawn):
    """All unknown variables are at t = 1, where one evaluation gives the posterior mean."""
    unknown = ~drawn.observed
    all_end = ((drawn.t == 1) | drawn.observed).all(1)
    assert_share(all_end, sampling.PURE_NOISE_SHARE)
    assert ((drawn.t[unknown] > 0) & (drawn.t[unknown] <= 1)).all()


def test_variables_with_even_steps():
    """Uniform times whatever the power, and more of them below 1; the others' times are unchanged."""
    present, even = torch.ones(ROWS, VARIABLES, dtype=torch.bool), torch.tensor([True, False, False, False])
    plain, drawn = (
        evidence_times(present, Rng.for_rows(ROWS, "times"), power=2.0, even=which) for which in (None, even)
    )
    assert torch.equal(drawn.t[:, 1:], plain.t[:, 1:]) and torch.equal(drawn.observed, plain.observed)
    between = drawn.t[:, 0][(drawn.t[:, 0] > 0) & (drawn.t[:, 0] < 1)]
    assert stats.kstest(between.numpy(), "uniform").pvalue > 1e-6
    unknown = ~drawn.observed.all(1) & ~drawn.observed[:, 0]
    pure = ((drawn.t == 1) | drawn.observed).all(1) & unknown
    assert pure.double().sum() < 0.5 * (((plain.t == 1) | plain.observed).all(1) & unknown).double().sum()
    assert (drawn.t[unknown, 0] < 1).double().mean() > 1.5 * (plain.t[unknown, 0] < 1).double().mean()


def test_share_of_posterior_mean_rows_may_differ_by_row():
    share = torch.cat([torch.zeros(ROWS), torch.ones(ROWS)])
    drawn = evidence_times(torch.ones(2 * ROWS, 3, dtype=torch.bool), Rng.for_rows(2 * ROWS, "share"), pure_noise=share)
    noisy = ((drawn.t > 0) & (drawn.t < 1)).any(1)
    assert not noisy[ROWS:].any()
    assert noisy[:ROWS].double().mean() > 0.5


def test_half_of_the_rows_share_one_time(drawn):
    between = (drawn.t > 0) & (drawn.t < 1)
    several = between.sum(1) > 1
    low = torch.where(between, drawn.t, 2.0).amin(1)
    high = torch.where(between, drawn.t, -1.0).amax(1)
    assert_share((low == high)[several], sampling.SHARED_SHARE)


def test_times_between_are_uniform(drawn):
    between = drawn.t[(drawn.t > 0) & (drawn.t < 1)]
    # Rows with a shared time repeat it, so at least a quarter of the times are independent.
    error = 1 / math.sqrt(12 * len(between) / 4)
    assert abs(float(between.mean()) - 0.5) < Z * error
    assert abs(float(between.square().mean()) - 1 / 3) < Z * error


def test_some_variables_are_marginalised_while_others_are_noisy(drawn):
    some = ((drawn.t == 1).any(1)) & (((drawn.t > 0) & (drawn.t < 1)).any(1))
    assert float(some.double().mean()) > 0.03


def test_missing_variables_are_never_evidence():
    present = Rng.for_rows(ROWS, "present").uniform((ROWS, VARIABLES)) < 0.6
    drawn = evidence_times(present, Rng.for_rows(ROWS, "absent"))
    assert not (drawn.observed & ~present).any()
    assert (drawn.t[~present] == 1).all()
    some = present.any(1)
    assert not ((drawn.observed == present).all(1) & some).any(), "a row without a target"


def test_rows_without_data():
    drawn = evidence_times(torch.zeros(3, 2, dtype=torch.bool), Rng.for_rows(3, "nothing"))
    assert (drawn.t == 1).all() and not drawn.observed.any()


def test_a_single_variable():
    drawn = evidence_times(torch.ones(ROWS, 1, dtype=torch.bool), Rng.for_rows(ROWS, "single"))
    assert not drawn.observed.any()
    assert_share(drawn.t[:, 0] == 1, sampling.PURE_NOISE_SHARE)


def test_times_of_a_row_do_not_depend_on_other_rows():
    rng, present = Rng.for_rows(9, "own"), torch.ones(9, VARIABLES, dtype=torch.bool)
    whole, order = evidence_times(present, rng), torch.tensor([7, 2])
    part = evidence_times(present[order], rng[order])
    assert torch.equal(part.t, whole.t[order]) and torch.equal(part.observed, whole.observed[order])


def test_shared_times():
    drawn = shared_times(torch.ones(ROWS, 3, dtype=torch.bool), Rng.for_rows(ROWS, "shared"))
    assert torch.equal(drawn.t, drawn.t[:, :1].expand(ROWS, 3)) and not drawn.observed.any()
    assert abs(float(drawn.t[:, 0].mean()) - 0.5) < Z / math.sqrt(12 * ROWS)


def test_half_of_the_rows_use_the_given_evidence_sets():
    """Evidence sets are equally frequent; missing variables are removed from them."""
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


def test_share_of_rows_for_joint_sampling():
    """All unknown variables of these rows share one intermediate time; the other rows are unchanged."""
    present = torch.ones(ROWS, 4, dtype=torch.bool)
    present[: ROWS // 2, 0] = False
    drawn, usual = (evidence_times(present, Rng.for_rows(ROWS, "walks"), draw_share=share) for share in (0.8, 0.0))
    assert torch.equal(drawn.observed, usual.observed) and (drawn.t[~present] == 1).all()
    unknown = present & ~drawn.observed

    def shared(times):
        first = torch.where(unknown, times.t, 2.0).amin(1, keepdim=True)
        return ((times.t == first) | ~unknown).all(1) & (first[:, 0] < 1)

    expected = 0.8 + 0.2 * float(shared(usual).double().mean())
    assert_share(shared(drawn), expected)
    whole = evidence_times(present, Rng.for_rows(ROWS, "walks"), draw_share=1.0)
    assert shared(whole).all() and (whole.t[unknown] < 1).all()


def test_powers_above_1_make_low_noise_frequent():
    """P(u^2 < x) is the square root of x; times 0 and 1 are unchanged."""
    present = torch.ones(ROWS, 2, dtype=torch.bool)
    plain, squared = (evidence_times(present, Rng.for_rows(ROWS, "power"), power=power) for power in (1.0, 2.0))
    assert torch.equal(plain.t == 1, squared.t == 1) and torch.equal(plain.observed, squared.observed)
    between = squared.t[(squared.t > 0) & (squared.t < 1)]
    assert_share(between < 0.04, 0.2)


def test_an_additional_variable_does_not_change_intermediate_times():
    """Times that are intermediate with and without it are equal, at any position of the added variable."""
    six = ["T1w", "age", "sex", "site", "score", "height"]
    seven = [*six[:2], "weight", *six[2:]]
    rng = Rng.for_rows(ROWS, "seventh")
    few, many = (evidence_times(torch.ones(ROWS, len(n), dtype=torch.bool), rng[:], names=n).t for n in (six, seven))
    many = many[:, [seven.index(name) for name in six]]
    between = (few > 0) & (few < 1) & (many > 0) & (many < 1)
    assert float(between.double().mean()) > 0.05 and torch.equal(few[between], many[between])
