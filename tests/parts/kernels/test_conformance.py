"""Built-in kernels pass the conformance suite of plugins."""

import pytest

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.kernels.schedules import CosineSchedule, LinearSchedule, ScaledLinearSchedule
from metavoxel.testing import kernel_checks, parametrize_checks

EXACT = (
    GaussianKernel(),
    GaussianKernel(prediction="epsilon", schedule=ScaledLinearSchedule()),
    UniformD3PMKernel(),
)
OTHERS = (
    GaussianKernel(prediction="x0", schedule=LinearSchedule()),
    GaussianKernel(prediction="v", schedule=ScaledLinearSchedule()),
    UniformD3PMKernel(schedule=CosineSchedule(power=1)),
    UniformD3PMKernel(schedule=LinearSchedule()),
)


@parametrize_checks(check for kernel in EXACT for check in kernel_checks(kernel))
def test_exact_kernels(check):
    check.run()


@pytest.mark.slow
@parametrize_checks(check for kernel in OTHERS for check in kernel_checks(kernel))
def test_other_settings(check):
    check.run()


@parametrize_checks(
    kernel_checks(UniformD3PMKernel(reverse="printed")),
    expected_failures={"check_one_hot_oracle": "the published formula is biased towards uniform"},
)
def test_published_reverse_step(check):
    check.run()


@parametrize_checks(
    (check for check in kernel_checks(GaussianKernel(prediction="epsilon")) if check.name == "check_problems_none"),
    expected_failures={"check_problems_none": "the data cannot be recovered from epsilon at zero signal"},
)
def test_epsilon_without_signal(check):
    check.run()
