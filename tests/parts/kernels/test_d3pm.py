import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metavoxel.parts.conformance.kernel_oracles import one_hot_marginal, state_likelihood
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.schedules import CosineSchedule, LinearSchedule
from metavoxel.rng import Rng
from metavoxel.testing.strategies import one_hot_codes, time_pairs_for, times_for

STEPS = 12


def step_matrices(schedule, categories):
    """Q_1, ..., Q_STEPS in float64: keep the category with probability r, else draw uniformly."""
    alpha_bar = schedule.log_alpha_bar(torch.arange(STEPS + 1, dtype=torch.float64) / STEPS).exp().numpy()
    ratios = alpha_bar[1:] / alpha_bar[:-1]
    return [r * np.eye(categories) + (1 - r) / categories for r in ratios]


def product(matrices, categories):
    result = np.eye(categories)
    for matrix in matrices:
        result = result @ matrix
    return result


CATEGORIES = [pytest.param(k, marks=[pytest.mark.slow] * (k not in (2, 3, 4, 7, 20, 50))) for k in range(2, 51)]


def times(step, rows):
    return torch.full((rows,), step / STEPS, dtype=torch.float64)


@pytest.mark.parametrize("categories", CATEGORIES)
def test_forward_is_a_product_of_steps(categories):
    kernel = UniformD3PMKernel()
    matrices = step_matrices(kernel.schedule, categories)
    for step in (1, 5, STEPS - 1):
        closed = state_likelihood(kernel, torch.eye(categories), step / STEPS).numpy()
        np.testing.assert_allclose(closed, product(matrices[:step], categories), atol=1e-12)


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=lambda schedule: schedule.type)
@pytest.mark.parametrize("reverse", ["mixture", "printed"])
@pytest.mark.parametrize("categories", CATEGORIES)
def test_reverse_is_bayes_over_products_of_steps(schedule, reverse, categories):
    kernel = UniformD3PMKernel(schedule=schedule, reverse=reverse)
    matrices = step_matrices(schedule, categories)
    xt = torch.eye(categories, dtype=torch.float64)
    x0_hat = torch.softmax(2 * Rng.for_rows(categories, "belief").normal((categories, categories)).double(), 1)
    posterior = x0_hat.numpy()
    for t, s in ((12, 11), (12, 0), (12, 4), (7, 6), (7, 2), (1, 0)):
        to_s, to_t = product(matrices[:s], categories), product(matrices[:t], categories)
        between = product(matrices[s:t], categories)
        result = kernel.transition(x0_hat, xt, times(t, categories), times(s, categories), eta=1.0).mean.numpy()
        if reverse == "mixture":
            # q(x_s = j | x_t = i, x_0 = k), normalised for every k and weighted by p(x_0 = k)
            each = between.T[:, None, :] * to_s[None] / to_t.T[:, :, None]
            expected = np.einsum("ik,ikj->ij", posterior, each)
        else:
            expected = between.T * (posterior @ to_s)
            expected = posterior if s == 0 else expected / expected.sum(1, keepdims=True)
        np.testing.assert_allclose(result, expected, atol=1e-10, err_msg=f"step from {t} to {s}")
        np.testing.assert_allclose(result.sum(1), 1, atol=1e-12, err_msg=f"step from {t} to {s}")


@pytest.mark.parametrize("steps", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_the_published_formula_is_biased_towards_uniform(steps):
    frequency = float(one_hot_marginal(UniformD3PMKernel(reverse="printed"), (0.9, 0.1), steps=steps)[0])
    assert 0.72 < frequency < 0.80
    exact = float(one_hot_marginal(UniformD3PMKernel(), (0.9, 0.1), steps=steps)[0])
    assert exact == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / 20_000))


def test_many_categories_are_sampled_with_their_probabilities():
    weights = torch.softmax(torch.linspace(0, 4, 20), 0)
    sampled = one_hot_marginal(UniformD3PMKernel(), weights.tolist(), steps=5)
    assert float((sampled - weights).abs().sum() / 2) < 0.02


@settings(max_examples=100)
@given(data=st.data())
def test_steps_in_single_and_double_precision_agree(data):
    x0 = data.draw(one_hot_codes())
    t, s = data.draw(time_pairs_for(x0))
    kernel = UniformD3PMKernel(
        schedule=data.draw(st.sampled_from((CosineSchedule(), CosineSchedule(power=1), LinearSchedule()))),
        reverse=data.draw(st.sampled_from(("mixture", "printed"))),
    )
    xt = kernel.noise(x0, t, rng=Rng.for_rows(len(x0), "noise")).state
    sharpness = data.draw(st.sampled_from((0.0, 1.0, 20.0)))
    logits = Rng.for_rows(len(x0), "logits").normal(tuple(x0.shape), dtype=torch.float64)
    x0_hat = torch.softmax(sharpness * logits, 1)
    double = kernel.transition(x0_hat, xt.double(), t, s, eta=1.0)
    single = kernel.transition(x0_hat.float(), xt, t, s, eta=1.0)
    torch.testing.assert_close(single.mean.double(), double.mean, rtol=0, atol=2e-5)
    torch.testing.assert_close(single.mean.sum(1), torch.ones_like(single.mean.sum(1)), rtol=0, atol=1e-5)
    drawn = single.sample(Rng.for_rows(len(x0), "step"))
    assert torch.equal(drawn.sum(1), torch.ones_like(drawn.sum(1)))
    assert ((drawn == 0) | (drawn == 1)).all()


@settings(max_examples=50)
@given(data=st.data())
def test_loss_is_finite_and_states_are_one_hot(data):
    x0 = data.draw(one_hot_codes())
    t = data.draw(times_for(x0))
    kernel = UniformD3PMKernel()
    state, target = kernel.noise(x0, t, rng=Rng.for_rows(len(x0), "noise"))
    assert torch.equal(target, x0)
    assert torch.equal(state.sum(1), torch.ones_like(state.sum(1)))
    prediction = 50 * Rng.for_rows(len(x0), "prediction").normal(tuple(x0.shape))
    assert kernel.loss(prediction, target, t).isfinite().all()


@pytest.mark.parametrize("categories", [2, 5, 50])
@pytest.mark.parametrize("alpha_bar", [1e-2, 1e-5, 1e-8])
def test_low_signal_is_not_rounded_to_zero(categories, alpha_bar):
    """Single precision near the prior: x0_hat determines the step to t = 0."""
    kernel = UniformD3PMKernel()
    log_snr = torch.full((categories,), math.log(alpha_bar / (1 - alpha_bar)))
    t = kernel.time_of(log_snr)
    xt = torch.eye(categories)
    x0_hat = torch.softmax(Rng.for_rows(categories, "belief").normal((categories, categories)), 1)
    step = kernel.transition(x0_hat, xt, t, torch.zeros_like(t), eta=1.0)
    torch.testing.assert_close(step.mean, x0_hat, rtol=0, atol=1e-6)
    likelihood = state_likelihood(kernel, torch.eye(categories), float(t[0]))
    kept = (likelihood.diagonal() - 1 / categories) / (1 - 1 / categories)
    torch.testing.assert_close(kept, torch.full_like(kept, alpha_bar), rtol=1e-4, atol=1e-15)


def test_one_row_of_two_categories():
    kernel = UniformD3PMKernel()
    x0 = torch.tensor([[0.0, 1.0]])
    half = torch.tensor([0.5], dtype=torch.float64)
    state = kernel.noise(x0, half, rng=Rng.of([1])).state
    assert state.shape == (1, 2) and state.sum() == 1
    step = kernel.transition(x0, state, half, torch.zeros(1, dtype=torch.float64), eta=1.0)
    assert torch.equal(step.sample(Rng.of([2])), x0)
    assert step.log_prob(x0) == 0


@given(st.data())
def test_the_likelihood_of_a_state_is_that_of_its_forward_process(data):
    """log q(x_t | x_0 = k) agrees with the product of steps, up to a constant."""
    categories, step = data.draw(st.integers(2, 6)), data.draw(st.integers(1, STEPS))
    kernel = UniformD3PMKernel()
    state = torch.eye(categories)[data.draw(st.integers(0, categories - 1))][None]
    found = kernel.log_likelihood(state, times(step, 1))[0].double()
    exact = np.log(product(step_matrices(kernel.schedule, categories)[:step], categories) @ state[0].numpy())
    assert (found - found.mean()).numpy() == pytest.approx(exact - exact.mean(), abs=1e-4)


def test_the_likelihood_of_a_clean_state_is_finite():
    found = UniformD3PMKernel().log_likelihood(torch.eye(3), torch.zeros(3, dtype=torch.float64))
    assert torch.isfinite(found).all() and (found.argmax(1) == torch.arange(3)).all()
