"""Distribution checks of kernels at arbitrary pairs of times, per row or per cell."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metavoxel.parts.conformance import kernel_distributions
from metavoxel.parts.conformance.kernels import assert_rows_independent
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.kernels.schedules import CosineSchedule, LinearSchedule, ScaledLinearSchedule
from metavoxel.testing.strategies import code_shapes, one_hot_codes, real_codes, time_pairs_for, times_for

# At most 20 thousand means are compared, so one exceeds the limit by chance in one of 25 thousand sets of examples.
# Examples only change with hypothesis or the tests.
Z_LIMIT = 6.0

SCHEDULES = st.sampled_from((CosineSchedule(), CosineSchedule(power=1), LinearSchedule(), ScaledLinearSchedule()))
GAUSSIAN = st.builds(GaussianKernel, schedule=SCHEDULES, prediction=st.sampled_from(("v", "x0")))
EPSILON = st.sampled_from(
    [GaussianKernel(schedule=schedule, prediction="epsilon") for schedule in (LinearSchedule(), ScaledLinearSchedule())]
)
D3PM = st.builds(UniformD3PMKernel, schedule=SCHEDULES, reverse=st.sampled_from(("mixture", "printed")))


def single_rows(channels):
    """Draw shapes of one row, which every check repeats thousands of times, with an empty or small grid."""
    grids = st.sampled_from(((), (2,), (1, 2)))
    return st.tuples(channels, grids).map(lambda parts: (1, parts[0], *parts[1]))


real = st.tuples(GAUSSIAN | EPSILON, real_codes(single_rows(st.integers(1, 3))))
one_hot = st.tuples(D3PM, one_hot_codes(single_rows(st.sampled_from((2, 3, 5)))))
supports = pytest.mark.parametrize("kernels_and_codes", [real, one_hot], ids=["real", "one_hot"])


@supports
@pytest.mark.parametrize(
    "check",
    [
        kernel_distributions.check_semigroup,
        kernel_distributions.check_transition_marginal,
        kernel_distributions.check_ancestral_joint,
    ],
)
@settings(max_examples=25)
@given(data=st.data())
def test_distributions_at_two_times(check, kernels_and_codes, data):
    kernel, code = data.draw(kernels_and_codes)
    check(kernel, [code], steps=[data.draw(time_pairs_for(code))], z_limit=Z_LIMIT)


@supports
@settings(max_examples=25)
@given(data=st.data())
def test_state_at_t_1_has_the_prior_distribution(kernels_and_codes, data):
    kernel, code = data.draw(kernels_and_codes)
    kernel_distributions.check_prior_at_end(kernel, [code], z_limit=Z_LIMIT)


@supports
@pytest.mark.parametrize("check", [kernel_distributions.check_identity_at_data, kernel_distributions.check_no_step])
@settings(max_examples=25)
@given(data=st.data())
def test_identities_are_bitwise(check, kernels_and_codes, data):
    kernel, code = data.draw(kernels_and_codes)
    check(kernel, [code], times=[data.draw(times_for(code))])


several_real = st.tuples(GAUSSIAN | EPSILON, real_codes())
several_one_hot = st.tuples(D3PM, one_hot_codes(code_shapes(channels=st.sampled_from((2, 3, 50)))))


@pytest.mark.parametrize("kernels_and_codes", [several_real, several_one_hot], ids=["real", "one_hot"])
@settings(max_examples=25)
@given(data=st.data())
def test_rows_are_independent_at_any_times(kernels_and_codes, data):
    kernel, code = data.draw(kernels_and_codes)
    assert_rows_independent(kernel, code, *data.draw(time_pairs_for(code)))
