"""Broken kernels fail the conformance check of the violated contract."""

import pytest
import torch

from metavoxel.parts.indices import is_indices
from metavoxel.parts.kernels.base import along
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel, GaussianTransition
from metavoxel.parts.kernels.schedules import ScaledLinearSchedule
from metavoxel.rng import Rng
from metavoxel.testing import kernel_checks, run_checks


class IgnoresState(GaussianKernel):
    """Draws x_s from q(x_s | x_0), which satisfies the transition marginal only."""

    def transition(self, x0_hat, xt, t, s, *, eta):
        signal, noise = self._scales(s, xt)
        step = GaussianTransition(signal.to(xt.dtype) * x0_hat, noise.to(xt.dtype))
        still = along(t, xt) == along(s, xt)
        return GaussianTransition(torch.where(still, xt, step.mean), torch.where(still, 0, step._sd))


class TooLittleNoise(GaussianKernel):
    """Has too small a variance in reverse steps, with the correct mean."""

    def transition(self, x0_hat, xt, t, s, *, eta):
        step = super().transition(x0_hat, xt, t, s, eta=eta)
        return GaussianTransition(step.mean, 0.9 * step._sd)


class SingleDrawForAll(GaussianKernel):
    """Noise that depends on the batch."""

    def noise(self, x0, t, *, rng):
        return super().noise(x0, t, rng=Rng(rng.keys + len(rng)))


class WrongTarget(GaussianKernel):
    """Target from which the data are not recovered."""

    def noise(self, x0, t, *, rng):
        noised = super().noise(x0, t, rng=rng)
        return noised._replace(target=1.01 * noised.target)


class ReducesLoss(GaussianKernel):
    def loss(self, prediction, target, t):
        return (prediction - target).square().flatten(1).mean(1)


class DividesBySignal(GaussianKernel):
    """Loss weight that is infinite at t = 1."""

    def loss(self, prediction, target, t):
        return super().loss(prediction, target, t) / torch.sigmoid(self.log_snr(along(t, prediction))).float()


class WritesToInput(GaussianKernel):
    def noise(self, x0, t, *, rng):
        noised = super().noise(x0, t, rng=rng)
        x0.mul_(2)
        return noised


class LosesPrecision(GaussianKernel):
    def denoise(self, prediction, xt, t):
        return super().denoise(prediction, xt, t).float()


class MisstatesSignal(GaussianKernel):
    def log_snr(self, t):
        return super().log_snr(t) + 0.2


class RoundsTimes(GaussianKernel):
    """Rounds times to a coarse grid."""

    def time_of(self, log_snr):
        return torch.round(super().time_of(log_snr) * 64) / 64


class MisstatesPredictsMean(GaussianKernel):
    """Predicts noise, but states that the prediction determines the posterior mean."""

    prediction: str = "epsilon"
    schedule: ScaledLinearSchedule = ScaledLinearSchedule()

    @property
    def predicts_mean(self):
        return True


class Unnormalised(GaussianTransition):
    def cell_log_prob(self, x):
        return super().cell_log_prob(x) + self._sd.log().expand_as(x).sum(1, keepdim=True)


class MisstatesDensity(GaussianKernel):
    """Omits the normalisation of the density."""

    def transition(self, x0_hat, xt, t, s, *, eta):
        step = super().transition(x0_hat, xt, t, s, eta=eta)
        return Unnormalised(step.mean, step._sd)


class NeverEnds(GaussianKernel):
    """Uses only times up to 0.9."""

    def noise(self, x0, t, *, rng):
        return super().noise(x0, 0.9 * t, rng=rng)


class RowTimesOnly(UniformD3PMKernel):
    """Uses the time of the first cell for all cells."""

    def noise(self, x0, t, *, rng):
        return super().noise(x0, t if t.ndim == 1 else t.flatten(1)[:, 0], rng=rng)


class TakesTheMode(UniformD3PMKernel):
    """Returns the most probable category in the last step instead of sampling."""

    def transition(self, x0_hat, xt, t, s, *, eta):
        if not s.any() and t.all():
            x0_hat = torch.nn.functional.one_hot(x0_hat.argmax(1), x0_hat.shape[1]).movedim(-1, 1).to(x0_hat)
        return super().transition(x0_hat, xt, t, s, eta=eta)


class WeighsIndices(UniformD3PMKernel):
    def loss(self, prediction, target, t):
        loss = super().loss(prediction, target, t)
        return 2 * loss if is_indices(target) else loss


class KeepsIndices(UniformD3PMKernel):
    """Keeps an index where a one-hot code would change."""

    def renoise(self, xs, s, t, *, rng):
        return super().renoise(xs, s, (s + t) / 2 if is_indices(xs) else t, rng=rng)


@pytest.mark.parametrize(
    ("kernel", "found"),
    [
        (WeighsIndices, "check_indices"),
        (KeepsIndices, "check_prior_at_end"),
        (KeepsIndices, "check_transition_marginal"),
    ],
)
def test_a_broken_kernel_of_indices_is_found(kernel, found):
    *others, last = run_checks(check for check in kernel_checks(kernel()) if check.name == found)
    assert last.outcome == "failed" and {result.outcome for result in others} <= {"passed"}


@pytest.mark.parametrize(
    ("kernel", "found"),
    [
        (IgnoresState, {"check_ancestral_joint"}),
        (TooLittleNoise, {"check_ancestral_joint", "check_transition_marginal"}),
        (SingleDrawForAll, {"check_rows_independent"}),
        (WrongTarget, {"check_perfect_prediction"}),
        (ReducesLoss, {"check_shapes"}),
        (DividesBySignal, {"check_loss_finite"}),
        (WritesToInput, {"check_inputs_unchanged"}),
        (LosesPrecision, {"check_precision_kept"}),
        (MisstatesSignal, {"check_signal_to_noise"}),
        (RoundsTimes, {"check_time_of"}),
        (MisstatesPredictsMean, {"check_predicts_mean"}),
        (MisstatesDensity, {"check_density"}),
        (NeverEnds, {"check_prior_at_end", "check_semigroup"}),
        (RowTimesOnly, {"check_cells_independent"}),
        (TakesTheMode, {"check_one_hot_oracle"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_kernel_is_found(kernel, found):
    results = run_checks(check for check in kernel_checks(kernel()) if check.name in found)
    assert {result.name: result.outcome for result in results} == dict.fromkeys(found, "failed")
