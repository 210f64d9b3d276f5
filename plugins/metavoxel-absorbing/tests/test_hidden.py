"""What is hidden is zeros, and what is uncovered stays."""

import torch
from metavoxel_absorbing import AbsorbingKernel

from metavoxel.rng import Rng
from metavoxel.testing import kernel_checks, parametrize_checks

KERNEL = AbsorbingKernel()


def at(time, rows):
    return torch.full((rows,), time, dtype=torch.float64)


def test_a_state_is_the_datum_or_hidden():
    x0 = torch.eye(3).repeat(1000, 1)
    t = at(0.6, len(x0))
    state = KERNEL.noise(x0, t, rng=Rng.for_rows(len(x0), "noise")).state
    hidden = state.sum(1) == 0
    assert torch.equal(state[~hidden], x0[~hidden])
    assert abs(float(hidden.double().mean()) - float(torch.sigmoid(-KERNEL.log_snr(t[:1])))) < 0.03
    later = KERNEL.renoise(state, t, at(0.8, len(x0)), rng=Rng.for_rows(len(x0), "on"))
    assert not later[hidden].any()


def test_what_is_uncovered_stays_whatever_the_head_says():
    state = torch.tensor([[0.0, 1, 0], [0, 0, 0]])
    belief = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
    last = KERNEL.transition(belief, state, at(0.5, 2), at(0.0, 2), eta=1.0)
    torch.testing.assert_close(last.mean, torch.tensor([[0.0, 1, 0], [0.8, 0.1, 0.1]]))
    torch.testing.assert_close(KERNEL.denoise(belief.log(), state, at(0.5, 2)), last.mean)


@parametrize_checks(check for check in kernel_checks(KERNEL, [torch.eye(50)[[3, 0, 49]]]) if "law" in check.name)
def test_laws_of_many_categories(check):
    check.run()
