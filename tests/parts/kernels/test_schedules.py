import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.schedulers import DDIMScheduler as MonaiDDIMScheduler
from pydantic import TypeAdapter, ValidationError

from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.kernels.schedules import (
    CosineSchedule,
    LinearSchedule,
    LogLinearSchedule,
    ScaledLinearSchedule,
    Schedule,
)

STEPS = np.arange(1, 1001)
SCHEDULES = (CosineSchedule(), CosineSchedule(power=1), LinearSchedule(), ScaledLinearSchedule(), LogLinearSchedule())


def alpha_bar(schedule, t):
    return schedule.log_alpha_bar(torch.as_tensor(t, dtype=torch.float64)).exp().numpy()


def test_linear_is_the_discrete_schedule():
    table = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(alpha_bar(LinearSchedule(), STEPS / 1000), table, rtol=1e-6)


def test_scaled_linear_is_the_discrete_schedule():
    table = np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)
    np.testing.assert_allclose(alpha_bar(ScaledLinearSchedule(), STEPS / 1000), table, rtol=1e-6)


def test_log_linear_masks_in_proportion_to_time():
    np.testing.assert_allclose(
        alpha_bar(LogLinearSchedule(), np.linspace(0, 1, 101)), np.linspace(1, 0, 101), atol=1e-12
    )


@pytest.mark.parametrize("power", [1, 2])
def test_cosine_is_the_published_formula(power):
    t = np.linspace(0, 1, 1001)
    value = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** power
    np.testing.assert_allclose(alpha_bar(CosineSchedule(power=power), t), value / value[0], atol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "name"), [(LinearSchedule(), "linear"), (ScaledLinearSchedule(), "scaled_linear")]
)
def test_schedules_agree_with_other_libraries(schedule, name):
    betas = {"beta_start": schedule.beta_start, "beta_end": schedule.beta_end}
    ours = alpha_bar(schedule, STEPS / 1000)
    diffusers = DDIMScheduler(num_train_timesteps=1000, beta_schedule=name, **betas).alphas_cumprod
    monai = MonaiDDIMScheduler(num_train_timesteps=1000, schedule=f"{name}_beta", **betas).alphas_cumprod
    np.testing.assert_allclose(ours, diffusers.numpy(), atol=1e-6)
    np.testing.assert_allclose(ours, monai.numpy(), atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_alpha_bar_starts_at_1_and_decreases(schedule):
    log = schedule.log_alpha_bar(torch.linspace(0, 1, 2001, dtype=torch.float64))
    assert log.dtype == torch.float64
    assert log[0] == 0
    assert bool((log[1:] < log[:-1]).all())
    assert schedule.ends_at_zero_signal == (schedule.type in ("cosine", "log_linear")) == bool(log[-1] == -math.inf)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_alpha_bar_is_precise_near_both_bounds(schedule):
    near_data = -schedule.log_alpha_bar(torch.tensor([1e-8, 2e-8], dtype=torch.float64))
    assert float(near_data[1] / near_data[0]) == pytest.approx(2, rel=1e-4)
    near_prior = schedule.log_alpha_bar(torch.tensor([1 - 1e-8], dtype=torch.float64))
    assert near_prior.isfinite().all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@given(t=st.floats(1e-4, 0.999))
def test_time_of_inverts_log_snr(schedule, t):
    kernel = GaussianKernel(schedule=schedule)
    log_snr = kernel.log_snr(torch.tensor([t], dtype=torch.float64))
    assert float(kernel.time_of(log_snr)) == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_time_of_accepts_any_value(schedule):
    kernel = GaussianKernel(schedule=schedule)
    times = kernel.time_of(torch.tensor([-math.inf, math.inf, -1000.0, 1000.0]))
    assert times.dtype == torch.float64
    assert times[:2].tolist() == [1, 0], "the bounds are exact"
    assert times[2:].tolist() == pytest.approx([1, 0], abs=1e-9)
    one_and_many = kernel.time_of(torch.tensor(0.5)), kernel.time_of(torch.full((2, 1, 3), 0.5))
    assert one_and_many[0].shape == () and torch.equal(one_and_many[0].expand(2, 1, 3), one_and_many[1])


def test_schedules_are_discriminated_by_type():
    read = TypeAdapter(Schedule).validate_python({"type": "linear", "steps": 50})
    assert read == LinearSchedule(steps=50)
    with pytest.raises(ValidationError):
        TypeAdapter(Schedule).validate_python({"type": "linear", "power": 1})
