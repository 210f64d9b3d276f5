"""The kernel against matrix exponentials and, for two levels, against the uniform kernel."""

import pytest
import torch
from metavoxel_ordinal.kernel import BirthDeathKernel, transition_matrix

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.rng import Rng


@pytest.mark.parametrize("levels", [2, 3, 7])
def test_the_transition_matrix_is_the_exponential_of_a_birth_death_generator(levels):
    rates = torch.diag(torch.ones(levels - 1), 1) + torch.diag(torch.ones(levels - 1), -1)
    rates = (rates - torch.diag(rates.sum(1))).double()
    gap = -torch.linalg.eigvalsh(rates)[-2]
    for tau in (0.0, 1e-6, 0.3, 4.0):
        expected = torch.linalg.matrix_exp(tau * rates / gap)
        found = transition_matrix(torch.tensor(-tau, dtype=torch.float64), levels)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    uniform = transition_matrix(torch.tensor(-torch.inf, dtype=torch.float64), levels)
    torch.testing.assert_close(uniform, torch.full_like(uniform, 1 / levels))


def test_steps_compose():
    first, second = (torch.tensor(log_kept, dtype=torch.float64) for log_kept in (-0.2, -0.7))
    both = transition_matrix(first, 5) @ transition_matrix(second, 5)
    torch.testing.assert_close(both, transition_matrix(first + second, 5))


def test_two_levels_have_the_uniform_kernel():
    x0_hat = torch.tensor([[0.7, 0.3], [0.1, 0.9]], dtype=torch.float64)
    state = torch.eye(2, dtype=torch.float64)
    t, s = torch.full((2,), 0.8, dtype=torch.float64), torch.full((2,), 0.3, dtype=torch.float64)
    steps = [
        kernel.transition(x0_hat, state, t, s, eta=1.0).mean for kernel in (BirthDeathKernel(), UniformD3PMKernel())
    ]
    torch.testing.assert_close(*steps)


def test_small_noise_moves_to_neighbours_only():
    middle = torch.eye(7)[[3]].expand(4000, 7).contiguous()
    t = torch.full((4000,), 0.1, dtype=torch.float64)
    frequencies = BirthDeathKernel().noise(middle, t, rng=Rng.for_rows(4000, "neighbours")).state.mean(0)
    assert frequencies[3] < 0.95 and frequencies[[2, 4]].sum() > 0.04 and frequencies[[0, 6]].sum() < 0.001
