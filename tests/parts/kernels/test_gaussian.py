import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.kernels.schedules import CosineSchedule, LinearSchedule, ScaledLinearSchedule
from metavoxel.rng import Rng
from metavoxel.testing.strategies import real_codes, time_pairs_for, times_for

KERNELS = [
    GaussianKernel(prediction=prediction, schedule=schedule)
    for schedule in (CosineSchedule(), LinearSchedule(), ScaledLinearSchedule())
    for prediction in ("v", "epsilon", "x0")
    if not (prediction == "epsilon" and schedule.ends_at_zero_signal)
]
kernels = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"{kernel.prediction}-{kernel.schedule.type}")


@kernels
@settings(max_examples=25)
@given(data=st.data())
def test_noise_loss_and_denoise_agree(kernel, data):
    x0 = data.draw(real_codes())
    t = data.draw(times_for(x0))
    state, target = kernel.noise(x0, t, rng=Rng.for_rows(len(x0), "noise"))
    loss = kernel.loss(target, target, t)
    assert loss.shape == (len(x0), 1, *x0.shape[2:])
    assert not loss.any()
    assert state.isfinite().all() and target.isfinite().all()
    signal = torch.sigmoid(kernel.log_snr(t)).sqrt().reshape(*t.shape, *[1] * (x0.ndim - t.ndim))
    error = (kernel.denoise(target, state, t) - x0).abs() * signal
    defined = signal > 0
    assert (torch.where(defined, error, 0) <= 2e-6 * (1 + x0.abs())).all()
    data_time = (t == 0).reshape(signal.shape)
    assert torch.equal(torch.where(data_time, state, 0), torch.where(data_time, x0, 0))


@settings(max_examples=100)
@given(data=st.data())
def test_steps_in_single_and_double_precision_agree(data):
    x0 = data.draw(real_codes())
    t, s = data.draw(time_pairs_for(x0))
    eta = data.draw(st.sampled_from((0.0, 0.3, 1.0)))
    kernel = data.draw(st.sampled_from(KERNELS))
    xt = kernel.noise(x0, t, rng=Rng.for_rows(len(x0), "noise")).state
    single = kernel.transition(x0, xt, t, s, eta=eta)
    double = kernel.transition(x0.double(), xt.double(), t, s, eta=eta)
    size = 1 + max(float(x0.abs().max()), float(xt.abs().max()))
    for rng in (Rng.for_rows(len(x0), "step"), Rng.for_rows(len(x0), "another")):
        difference = single.sample(rng) - double.sample(Rng(rng.keys))
        assert float(difference.abs().max()) <= 1e-6 * size
    assert float((single.mean - double.mean).abs().max()) <= 1e-6 * size


@pytest.mark.parametrize("log_signal", [-8.0, -16.0])
def test_ancestral_steps_at_low_signal_are_uncorrelated(log_signal):
    """In single precision sqrt(1 - alpha_bar) is 1 at both times, which must not be treated as t = s."""
    kernel, rows = GaussianKernel(), 20_000
    s = kernel.time_of(torch.full((rows,), log_signal * math.log(10)))
    t = torch.ones(rows, dtype=torch.float64)
    x0, xt = torch.zeros(rows, 1), Rng.for_rows(rows, "state").normal((rows, 1))
    xs = kernel.transition(x0, xt, t, s, eta=1.0).sample(Rng.for_rows(rows, "step"))
    z = float((xs * xt).mean()) * math.sqrt(rows)
    assert abs(z) < 5, "the states before and after are correlated"
    assert float(xs.var()) == pytest.approx(1, abs=5 * math.sqrt(2 / rows))


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("schedule", [LinearSchedule(), ScaledLinearSchedule()], ids=lambda schedule: schedule.type)
def test_steps_agree_with_diffusers(prediction, eta, spacing, schedule):
    """At t = k / 1000, for any model: here the exact prediction for standard normal data plus a non-linear term."""
    kernel = GaussianKernel(prediction=prediction, schedule=schedule)
    reference = DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule=schedule.type,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type={"epsilon": "epsilon", "v": "v_prediction"}[prediction],
        timestep_spacing=spacing,
    )
    reference.alphas_cumprod = reference.alphas_cumprod.double()
    reference.set_timesteps(50)
    steps = [*reference.timesteps.tolist(), reference.timesteps[-1].item() - 20]
    mixing = Rng.for_rows(6, "mixing").normal((6, 6), dtype=torch.float64)
    theirs = ours = Rng.for_rows(4, "start").normal((4, 6), dtype=torch.float64)
    for step, after in pairwise(steps):
        t, s = (torch.full((4,), max(index + 1, 0) / 1000, dtype=torch.float64) for index in (step, after))
        rng = Rng.for_rows(4, "step", step)
        noise = Rng(rng.keys).normal((4, 6), dtype=torch.float64)
        exact = (1 - reference.alphas_cumprod[step]).sqrt() if prediction == "epsilon" else 0.0
        predictions = [exact * state + 0.3 * torch.tanh(state @ mixing + step / 1000) for state in (theirs, ours)]
        theirs = reference.step(
            predictions[0], step, theirs, eta=eta, variance_noise=noise if eta else None
        ).prev_sample
        ours = kernel.transition(kernel.denoise(predictions[1], ours, t), ours, t, s, eta=eta).sample(rng)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_v_at_t_1_is_the_negative_data():
    """Hence one evaluation at t = 1 predicts the posterior mean."""
    x0 = Rng.for_rows(3, "data").normal((3, 2))
    target = GaussianKernel().noise(x0, torch.ones(3, dtype=torch.float64), rng=Rng.for_rows(3, "noise")).target
    torch.testing.assert_close(target, -x0)


def test_draws_after_a_deterministic_step_are_independent_of_the_batch():
    kernel, x = GaussianKernel(), torch.ones(2, 1)
    t, s = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([0.0, 0.2], dtype=torch.float64)
    together, alone = Rng.of([1, 2]), Rng.of([1])
    kernel.transition(x, x, t, s, eta=1.0).sample(together)
    kernel.transition(x[:1], x[:1], t[:1], s[:1], eta=1.0).sample(alone)
    assert torch.equal(together.normal((2, 1))[:1], alone.normal((1, 1)))


def test_density_is_gaussian():
    kernel = GaussianKernel()
    t, s = torch.tensor([0.8, 0.5], dtype=torch.float64), torch.tensor([0.3, 0.5], dtype=torch.float64)
    x0, xt = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    step = kernel.transition(x0, xt, t, s, eta=1.0)
    draws = torch.stack([step.sample(Rng.of([key, key])) for key in range(2000)])
    sd = draws[:, 0].std()
    expected = torch.distributions.Normal(step.mean[0], sd).log_prob(torch.zeros(3, dtype=torch.float64)).sum()
    assert float(step.log_prob(x0)[0]) == pytest.approx(float(expected), abs=0.2)
    torch.testing.assert_close(step.cell_log_prob(x0).sum(1), step.log_prob(x0))
    assert step.log_prob(xt)[1] == 0, "no step: all probability is on the state"
    assert step.log_prob(x0)[1] == -math.inf


def test_all_predictions_but_epsilon_determine_the_mean():
    for kernel in KERNELS:
        assert kernel.predicts_mean == (kernel.prediction != "epsilon")
