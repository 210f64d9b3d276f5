"""The kernel against matrix exponentials, and against the uniform kernel where they are one."""

import pytest
import torch
from metavoxel_ordinal.kernel import BirthDeathKernel, chances

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.rng import Rng


@pytest.mark.parametrize("levels", [2, 3, 7])
def test_chances_are_the_exponential_of_a_birth_death_matrix(levels):
    rates = torch.diag(torch.ones(levels - 1), 1) + torch.diag(torch.ones(levels - 1), -1)
    rates = (rates - torch.diag(rates.sum(1))).double()
    gap = -torch.linalg.eigvalsh(rates)[-2]
    for tau in (0.0, 1e-6, 0.3, 4.0):
        expected = torch.linalg.matrix_exp(tau * rates / gap)
        found = chances(torch.tensor(-tau, dtype=torch.float64), levels)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    alike = chances(torch.tensor(-torch.inf, dtype=torch.float64), levels)
    torch.testing.assert_close(alike, torch.full_like(alike, 1 / levels))


def test_strides_compose():
    first, second = (torch.tensor(log_kept, dtype=torch.float64) for log_kept in (-0.2, -0.7))
    both = chances(first, 5) @ chances(second, 5)
    torch.testing.assert_close(both, chances(first + second, 5))


def test_two_levels_are_the_uniform_kernel():
    belief = torch.tensor([[0.7, 0.3], [0.1, 0.9]], dtype=torch.float64)
    state = torch.eye(2, dtype=torch.float64)
    t, s = torch.full((2,), 0.8, dtype=torch.float64), torch.full((2,), 0.3, dtype=torch.float64)
    steps = [
        kernel.transition(belief, state, t, s, eta=1.0).mean for kernel in (BirthDeathKernel(), UniformD3PMKernel())
    ]
    torch.testing.assert_close(*steps)


def test_little_noise_moves_to_neighbours_alone():
    middle = torch.eye(7)[[3]].expand(4000, 7).contiguous()
    t = torch.full((4000,), 0.1, dtype=torch.float64)
    share = BirthDeathKernel().noise(middle, t, rng=Rng.for_rows(4000, "neighbours")).state.mean(0)
    assert share[3] < 0.95 and share[[2, 4]].sum() > 0.04 and share[[0, 6]].sum() < 0.001
