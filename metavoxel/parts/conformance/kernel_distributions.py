"""Checks of the distributions that a kernel of any support samples from, given x_0.

Each check samples one distribution in two ways and compares moments, with fixed random streams. Sampling with an
uncertain estimate of x_0 is checked in ``kernel_oracles``.

``steps`` and ``times`` override the default times: numbers (one time for all rows), or tensors of the times of one row,
(1,), or of its cells, (1, 1, *s). With many sets of times, raise ``z_limit`` to account for multiple comparisons.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.conformance.statistics import (
    Z_LIMIT,
    assert_equal,
    assert_same_distribution,
    assert_same_mean,
    assert_same_pairs,
)
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng

Examples: TypeAlias = Sequence[Float[Tensor, "_ _ *_"]]
"""Batches of codes; shapes differ between batches."""

SharedTime: TypeAlias = float | Float[Tensor, "1 *_"]
"""A time shared by all rows: a number, or a tensor of the times of one row."""
Steps: TypeAlias = Sequence[tuple[SharedTime, SharedTime]]
"""Pairs of times (t, s) with s <= t."""

ROWS = 8_000
STEPS: Steps = ((1.0, 0.0), (1.0, 1e-8), (1.0, 0.5), (1.0, 0.9999), (0.7, 0.3), (0.3, 0.29), (0.05, 0.0), (0.01, 1e-8))
"""Pairs of times t > s: long and short steps, and steps near both bounds."""


def at(time: SharedTime, rows: int) -> Float[Tensor, "_ *_"]:
    """Repeat a time, or the times of one row's cells, for every row."""
    one = torch.as_tensor(time, dtype=torch.float64)
    return one.expand(rows, *one.shape[1:]).contiguous()


def _copies(codes: Examples) -> Iterator[tuple[Float[Tensor, "_ _ *_"], str]]:
    for code in codes:
        x0 = code[:1].expand(ROWS, *code.shape[1:]).contiguous()
        yield x0, f"code of shape {tuple(code.shape[1:])}"


def _rng(*parts: str | SharedTime) -> Rng:
    return Rng.for_rows(ROWS, *map(str, parts))


def check_identity_at_data(
    kernel: AbstractKernel, codes: Examples, *, times: Sequence[SharedTime] = (0.0, 0.4, 1.0)
) -> None:
    """Check that noising to t = 0, and renoising from t to t, are bitwise identities."""
    for x0, where in _copies(codes):
        assert_equal(kernel.noise(x0, at(0, ROWS), rng=_rng("data")).state, x0, f"{where}: noise at t = 0")
        for time in times:
            again = kernel.renoise(x0, at(time, ROWS), at(time, ROWS), rng=_rng("again"))
            assert_equal(again, x0, f"{where}: renoise from t = {time} to itself")


def check_prior_at_end(kernel: AbstractKernel, codes: Examples, *, z_limit: float = Z_LIMIT) -> None:
    """Check that the state at t = 1 has the prior distribution, up to the signal that the schedule leaves."""
    signal = float(torch.sigmoid(kernel.log_snr(torch.ones(1, dtype=torch.float64))).sqrt())
    for x0, where in _copies(codes):
        slack = signal * (1 + float(x0.abs().max())) ** 4
        prior = kernel.prior(tuple(x0.shape), rng=_rng("prior"), like=x0)
        state = kernel.noise(x0, at(1, ROWS), rng=_rng("end")).state
        what = f"{where}: noise at t = 1 against the prior"
        assert_same_distribution(state, prior, what, slack=slack, z_limit=z_limit)


def check_semigroup(kernel: AbstractKernel, codes: Examples, *, steps: Steps = STEPS, z_limit: float = Z_LIMIT) -> None:
    """Check the semigroup property: noising to s and then to t has the distribution of noising to t."""
    for x0, where in _copies(codes):
        for t, s in steps:
            middle = kernel.noise(x0, at(s, ROWS), rng=_rng("to s", s, t)).state
            twice = kernel.renoise(middle, at(s, ROWS), at(t, ROWS), rng=_rng("to t", s, t))
            once = kernel.noise(x0, at(t, ROWS), rng=_rng("at once", s, t)).state
            what = f"{where}: renoise(noise(x0, {s}), {s}, {t}) against noise(x0, {t})"
            assert_same_distribution(twice, once, what, z_limit=z_limit)


def check_transition_marginal(
    kernel: AbstractKernel, codes: Examples, *, steps: Steps = STEPS, z_limit: float = Z_LIMIT
) -> None:
    """Check that a reverse step from noise(x0, t) to s, given x0, has the distribution of noise(x0, s) for any eta."""
    for x0, where in _copies(codes):
        for t, s in steps:
            expected = kernel.noise(x0, at(s, ROWS), rng=_rng("expected", s, t)).state
            for eta in (0.0, 0.5, 1.0):
                xt = kernel.noise(x0, at(t, ROWS), rng=_rng("state", s, t, eta)).state
                step = kernel.transition(x0, xt, at(t, ROWS), at(s, ROWS), eta=eta)
                what = f"{where}: step from t = {t} to {s} at eta = {eta} against noise(x0, {s})"
                assert_same_distribution(step.sample(_rng("step", s, t, eta)), expected, what, z_limit=z_limit)


def check_ancestral_joint(
    kernel: AbstractKernel, codes: Examples, *, steps: Steps = STEPS, z_limit: float = Z_LIMIT
) -> None:
    """Check that at eta = 1 (x_s, x_t) given x0 has the joint distribution of the forward process.

    A step that ignores x_t passes ``check_transition_marginal`` but not this check. Of a kernel that is not cellwise,
    the joint distribution of each cell.
    """
    for x0, where in _copies(codes):
        for t, s in steps:
            xt = kernel.noise(x0, at(t, ROWS), rng=_rng("backward", s, t)).state
            xs = kernel.transition(x0, xt, at(t, ROWS), at(s, ROWS), eta=1.0).sample(_rng("step", s, t))
            forward_s = kernel.noise(x0, at(s, ROWS), rng=_rng("forward", s, t)).state
            forward_t = kernel.renoise(forward_s, at(s, ROWS), at(t, ROWS), rng=_rng("on", s, t))
            what = f"{where}: pair at t = {s} and {t}, backward and forward"
            for backward, forward in _cells(kernel, (xs, xt), (forward_s, forward_t)):
                assert_same_pairs(backward, forward, what, z_limit=z_limit)


def _cells(kernel: AbstractKernel, *pairs: tuple[Tensor, Tensor]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yield pairs of states whose joint distribution a kernel determines: of all cells together, or of each."""
    if kernel.is_cellwise or pairs[0][0].ndim == 2:
        yield list(pairs)
        return
    for cell in range(pairs[0][0].flatten(2).shape[2]):
        yield [(first.flatten(2)[..., cell], second.flatten(2)[..., cell]) for first, second in pairs]


def check_no_step(
    kernel: AbstractKernel, codes: Examples, *, times: Sequence[SharedTime] = (0.0, 1e-8, 0.4, 1.0)
) -> None:
    """Check that a step from t to t is a bitwise identity."""
    for x0, where in _copies(codes):
        for time in times:
            xt = kernel.noise(x0, at(time, ROWS), rng=_rng("state", time)).state
            for eta in (0.0, 1.0):
                step = kernel.transition(x0, xt, at(time, ROWS), at(time, ROWS), eta=eta)
                assert_equal(step.sample(_rng("step")), xt, f"{where}: sample of a step from t = {time} to itself")
                assert_equal(step.mean, xt, f"{where}: mean of a step from t = {time} to itself")


def check_transition_mean(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that the stated mean of a step is the mean of its samples."""
    for x0, where in _copies(codes):
        for t, s in STEPS:
            for eta in (0.0, 1.0):
                xt = kernel.noise(x0, at(t, ROWS), rng=_rng("state", s, t)).state
                step = kernel.transition(x0, xt, at(t, ROWS), at(s, ROWS), eta=eta)
                error = step.sample(_rng("step", s, t)).double() - step.mean.double()
                what = f"{where}: sample minus mean of a step from t = {t} to {s} at eta = {eta}"
                # Fewer than ten expected draws of a class have no normal distribution.
                rare = 10 / ROWS if kernel.is_categorical else 0.0
                assert_same_mean(error, torch.zeros_like(error), what, slack=rare)


DISTRIBUTION_CHECKS = (
    check_identity_at_data,
    check_prior_at_end,
    check_semigroup,
    check_transition_marginal,
    check_ancestral_joint,
    check_no_step,
    check_transition_mean,
)
"""Distribution checks for kernels of any support."""
