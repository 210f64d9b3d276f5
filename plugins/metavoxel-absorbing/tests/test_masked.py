"""The masked kernel equals the absorbing one in every cell, and changes an even number of cells in every step."""

import math

import pytest
import torch
from metavoxel_absorbing import AbsorbingKernel, MaskedKernel
from scipy import stats

from metavoxel.parts.indices import one_hot
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.settings import Sampling
from metavoxel.sampling.times import time_grid

ROWS, CELLS, CLASSES = 4000, 12, 3
MASKED, ABSORBING = MaskedKernel(), AbsorbingKernel()
X0 = torch.eye(CLASSES)[torch.arange(CELLS) % CLASSES].T.expand(ROWS, CLASSES, CELLS)
X0_HAT = torch.softmax(Rng.for_rows(1, "estimate").normal((1, CLASSES, CELLS)), 1).expand(ROWS, CLASSES, CELLS)
LIMIT = 1e-6
"""Least p-value of a test."""


def at(time):
    return torch.full((ROWS,), time, dtype=torch.float64)


def rng(*parts):
    return Rng.for_rows(ROWS, *parts)


def classes(state):
    """Return the class of every cell; the last is the masked state."""
    return torch.where(state.sum(1) > 0.5, state.argmax(1), CLASSES)


def counts(state):
    return torch.stack([(classes(state) == index).sum(0) for index in range(CLASSES + 1)])


def assert_equal_cells(first, second):
    """Compare the classes of every cell of two samples by a chi-square test."""
    for cell in range(CELLS):
        table = torch.stack([counts(first)[:, cell], counts(second)[:, cell]])
        table = table[:, table.sum(0) > 0]
        if table.shape[1] > 1:
            assert stats.chi2_contingency(table.numpy()).pvalue > LIMIT


@pytest.mark.parametrize(("s", "t"), [(0.0, 0.5), (0.3, 0.6), (0.5, 1.0)])
def test_noise_has_the_absorbing_distribution_in_every_cell(s, t):
    start = ABSORBING.noise(X0, at(s), rng=rng("start", s)).state
    noised = [kernel.renoise(start, at(s), at(t), rng=rng("on", kernel.type, t)) for kernel in (MASKED, ABSORBING)]
    assert_equal_cells(*noised)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.0), (1.0, 0.6), (0.7, 0.3), (0.5, 0.45)])
def test_steps_have_the_absorbing_distribution_in_every_cell(t, s):
    state = ABSORBING.noise(X0, at(t), rng=rng("state", t)).state
    steps = [kernel.transition(X0_HAT, state, at(t), at(s), eta=1.0) for kernel in (MASKED, ABSORBING)]
    assert_equal_cells(*(step.sample(rng("step", index)) for index, step in enumerate(steps)))
    torch.testing.assert_close(steps[0].mean, steps[1].mean)


def test_trajectories_have_the_absorbing_distribution_in_every_cell():
    """Under an estimate that does not depend on the state, all steps together draw every cell from it."""
    times = torch.linspace(1, 0, 8).double()
    ends = []
    for kernel in (MASKED, ABSORBING):
        stream = rng("trajectory", kernel.type)
        state = kernel.prior(tuple(X0.shape), rng=stream, like=X0)
        for t, s in zip(times, times[1:], strict=False):
            step = kernel.transition(X0_HAT, state, at(float(t)), at(float(s)), eta=1.0)
            state = step.sample(stream)
        ends.append(state)
    assert_equal_cells(*ends)
    expected = X0_HAT[0].T.double()
    expected = expected / expected.sum(1, keepdim=True) * ROWS
    for cell in range(CELLS):
        assert stats.chisquare(counts(ends[0])[:CLASSES, cell].numpy(), expected[cell].numpy()).pvalue > LIMIT


def test_the_number_of_changes_is_even():
    """It is the expected number, rounded up or down."""
    t = at(0.6)
    masked = float(torch.sigmoid(-MASKED.log_snr(t[:1])))
    state = MASKED.noise(X0, t, rng=rng("noise")).state
    hidden = (classes(state) == CLASSES).sum(1)
    assert set(hidden.tolist()) <= {int(CELLS * masked), int(CELLS * masked) + 1}
    step = MASKED.transition(X0_HAT, state, t, at(0.3), eta=1.0)
    still = float(torch.sigmoid(-MASKED.log_snr(at(0.3)[:1]))) / masked
    drawn = hidden - (classes(step.sample(rng("step"))) == CLASSES).sum(1)
    expected = hidden * (1 - still)
    assert bool(((drawn - expected).abs() < 1).all())


@pytest.mark.parametrize("name", ["uniform", "log_snr"])
def test_as_many_steps_as_cells_draw_one_cell_each(name):
    """Whatever the grid of other variables, here that of a number."""
    kernels = {"number": GaussianKernel(), "text": MASKED}
    conditional = Conditional(
        kernels, {"number": (1,), "text": (CLASSES, CELLS)}, {}, (), torch.zeros(()), Rng.for_rows(8, "one")
    )

    def estimate(states, times, observed):
        return {"number": torch.zeros(8, 1), "text": X0_HAT[:8]}

    sampling = Sampling(steps=CELLS, grid=name)
    grid = time_grid(name, CELLS, list(kernels.values()))
    states = list(sampling.trajectory(estimate, conditional, grid, soft_end=False))
    drawn = [(classes(state["text"]) < CLASSES).sum(1) for state in states]
    assert [one.unique().tolist() for one in drawn] == [[number] for number in range(1, CELLS + 1)]


def test_named_orders():
    state = torch.zeros(ROWS, CLASSES, CELLS)
    for order, scores in (("left", torch.arange(CELLS).double()), ("confident", -X0_HAT[0].amax(0).double())):
        kernel = MaskedKernel(order=order)
        drawn = kernel.transition(X0_HAT, state, at(1.0), at(0.5), eta=1.0).sample(rng(order))
        revealed = classes(drawn) < CLASSES
        number = revealed.sum(1)
        first = scores.argsort().argsort() < number[:, None]
        assert torch.equal(revealed, first)


@pytest.mark.parametrize("order", ["even", "left", "confident"])
def test_indices_are_masked_and_drawn_in_the_same_cells(order):
    """With the same random numbers; the classes of drawn cells have the distribution of one-hot codes."""
    kernel = MaskedKernel(order=order)
    indexed, index = kernel.with_indices(CLASSES), X0.argmax(1, keepdim=True)
    states = [one.noise(x0, at(0.7), rng=rng("same", order)).state for one, x0 in ((kernel, X0), (indexed, index))]
    assert torch.equal(one_hot(states[1][:, 0], CLASSES), states[0])
    drawn = [
        one.transition(X0_HAT, state, at(0.7), at(0.3), eta=1.0).sample(rng("step", order))
        for one, state in zip((kernel, indexed), states, strict=True)
    ]
    drawn[1] = one_hot(drawn[1][:, 0], CLASSES)
    assert torch.equal(*(kernel.revealed(state) for state in drawn))
    assert_equal_cells(*drawn)


def test_only_hidden_cells_have_a_loss():
    state = MASKED.noise(X0, at(0.5), rng=rng("revealed")).state
    assert torch.equal(MASKED.revealed(state)[:, 0], classes(state) < CLASSES)


@pytest.mark.parametrize("time", [0.2, 0.5, 0.8, 1.0])
def test_a_row_has_the_same_weight_at_every_time(time):
    state = MASKED.noise(X0, at(time), rng=rng("weight", time)).state
    loss = MASKED.loss(torch.zeros_like(X0), X0, at(time))
    total = torch.where(MASKED.revealed(state), 0.0, loss).double().sum((1, 2)) / (CELLS * math.log(CLASSES))
    error = total.std() / ROWS**0.5
    assert abs(total.mean() - 1) < 5 * error + 1e-6
