"""Masked states are zeros, and unmasked ones do not change."""

import torch
from metavoxel_absorbing import AbsorbingKernel

from metavoxel.rng import Rng
from metavoxel.testing import kernel_checks, parametrize_checks

KERNEL = AbsorbingKernel()


def at(time, rows):
    return torch.full((rows,), time, dtype=torch.float64)


def test_a_state_is_the_datum_or_masked():
    x0 = torch.eye(3).repeat(1000, 1)
    t = at(0.6, len(x0))
    state = KERNEL.noise(x0, t, rng=Rng.for_rows(len(x0), "noise")).state
    masked = state.sum(1) == 0
    assert torch.equal(state[~masked], x0[~masked])
    assert abs(float(masked.double().mean()) - float(torch.sigmoid(-KERNEL.log_snr(t[:1])))) < 0.03
    later = KERNEL.renoise(state, t, at(0.8, len(x0)), rng=Rng.for_rows(len(x0), "on"))
    assert not later[masked].any()


def test_an_unmasked_label_does_not_change_for_any_estimate():
    state = torch.tensor([[0.0, 1, 0], [0, 0, 0]])
    x0_hat = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
    last = KERNEL.transition(x0_hat, state, at(0.5, 2), at(0.0, 2), eta=1.0)
    torch.testing.assert_close(last.mean, torch.tensor([[0.0, 1, 0], [0.8, 0.1, 0.1]]))
    torch.testing.assert_close(KERNEL.denoise(x0_hat.log(), state, at(0.5, 2)), last.mean)


MANY = [torch.eye(50)[[3, 0, 49]]]
DISTRIBUTIONS = {"check_transition_marginal", "check_ancestral_joint"}


@parametrize_checks(check for check in kernel_checks(KERNEL, MANY) if check.name in DISTRIBUTIONS)
def test_distributions_of_many_categories(check):
    check.run()
