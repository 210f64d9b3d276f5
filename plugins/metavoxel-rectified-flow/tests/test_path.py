"""The path is linear, and deterministic steps are Euler's."""

import pytest
import torch
from metavoxel_rectified_flow import RectifiedFlowKernel

from metavoxel.rng import Rng
from metavoxel.testing import kernel_checks, parametrize_checks


@parametrize_checks(kernel_checks(RectifiedFlowKernel(shift=3)))
def test_shifted_times_conform(check):
    check.run()


def at(time):
    return torch.full((5,), time, dtype=torch.float64)


def test_the_path_is_linear():
    x0 = Rng.for_rows(5, "x0").normal((5, 3))
    start, middle, end = (
        RectifiedFlowKernel().noise(x0, at(time), rng=Rng.for_rows(5, "noise")) for time in (0, 0.25, 1)
    )
    torch.testing.assert_close(middle.state, 0.75 * start.state + 0.25 * end.state)
    for noised in (start, middle, end):
        torch.testing.assert_close(noised.target, end.state - start.state)


def test_a_step_is_eulers():
    kernel = RectifiedFlowKernel()
    velocity, state = (Rng.for_rows(5, name).normal((5, 3)) for name in ("velocity", "state"))
    x0_hat = kernel.denoise(velocity, state, at(0.6))
    step = kernel.transition(x0_hat, state, at(0.6), at(0.5), eta=0.0)
    torch.testing.assert_close(step.mean, state - 0.1 * velocity)


@pytest.mark.parametrize("time", [0.0, 0.3, 1.0])
def test_estimates_convert_to_a_velocity(time):
    kernel = RectifiedFlowKernel()
    x0, noise = (Rng.for_rows(5, name).normal((5, 3)) for name in ("x0", "noise"))
    signal, sd = (scale[:, None].float() for scale in kernel.scales(at(time)))
    recovered = kernel.denoise(kernel.to_prediction(x0, noise, at(time)), signal * x0 + sd * noise, at(time))
    torch.testing.assert_close(recovered, x0)
