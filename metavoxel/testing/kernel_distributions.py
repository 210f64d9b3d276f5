"""Laws that the draws of every kernel obey, whatever it does to a code.

Each compares two ways to the same distribution by moments, with fixed streams of random numbers. They hold for a given
x_0; what a kernel makes of a *belief* about x_0 is the business of the oracle checks.

The times are fixed unless given: ``steps`` and ``times`` take numbers, one time for all, or tensors of one row's times,
(1,) or one a cell (1, 1, *s). Whoever tries many of them raises ``z_limit``, for chance has as many tries.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.testing.statistics import (
    Z_LIMIT,
    assert_equal,
    assert_same_distribution,
    assert_same_mean,
    assert_same_pairs,
)

Examples: TypeAlias = Sequence[Float[Tensor, "_ _ *_"]]
"""Batches of codes, each of a shape of its own."""

Moment: TypeAlias = float | Float[Tensor, "1 *_"]
"""A time of all rows: a number, or a tensor of one row's times."""
Steps: TypeAlias = Sequence[tuple[Moment, Moment]]
"""Pairs of times t and s, with s at or before t."""

ROWS = 8_000
STEPS: Steps = ((1.0, 0.0), (1.0, 1e-8), (1.0, 0.5), (1.0, 0.9999), (0.7, 0.3), (0.3, 0.29), (0.05, 0.0), (0.01, 1e-8))
"""Pairs of times t > s: long, short, and at either end."""


def at(time: Moment, rows: int) -> Float[Tensor, "_ *_"]:
    """The same time, or the same times of cells, for every row."""
    one = torch.as_tensor(time, dtype=torch.float64)
    return one.expand(rows, *one.shape[1:]).contiguous()


def _copies(codes: Examples) -> Iterator[tuple[Float[Tensor, "_ _ *_"], str]]:
    for code in codes:
        x0 = code[:1].expand(ROWS, *code.shape[1:]).contiguous()
        yield x0, f"code of shape {tuple(code.shape[1:])}"


def _rng(*parts: str | Moment) -> Rng:
    return Rng.for_rows(ROWS, *map(str, parts))


def check_identity_at_data(
    kernel: AbstractKernel, codes: Examples, *, times: Sequence[Moment] = (0.0, 0.4, 1.0)
) -> None:
    """At t = 0 noising gives the data themselves, to the last bit; and no time is no noise."""
    for x0, where in _copies(codes):
        assert_equal(kernel.noise(x0, at(0, ROWS), rng=_rng("data")).state, x0, f"{where}: noise at t = 0")
        for time in times:
            again = kernel.renoise(x0, at(time, ROWS), at(time, ROWS), rng=_rng("again"))
            assert_equal(again, x0, f"{where}: renoise from t = {time} to itself")


def check_prior_at_end(kernel: AbstractKernel, codes: Examples, *, z_limit: float = Z_LIMIT) -> None:
    """At t = 1 the state is distributed as the prior, but for what signal the schedule leaves."""
    signal = float(torch.sigmoid(kernel.log_snr(torch.ones(1, dtype=torch.float64))).sqrt())
    for x0, where in _copies(codes):
        slack = signal * (1 + float(x0.abs().max())) ** 4
        prior = kernel.prior(tuple(x0.shape), rng=_rng("prior"), like=x0)
        state = kernel.noise(x0, at(1, ROWS), rng=_rng("end")).state
        what = f"{where}: noise at t = 1 against the prior"
        assert_same_distribution(state, prior, what, slack=slack, z_limit=z_limit)


def check_semigroup(kernel: AbstractKernel, codes: Examples, *, steps: Steps = STEPS, z_limit: float = Z_LIMIT) -> None:
    """Noising to s and on to t is noising to t."""
    for x0, where in _copies(codes):
        for t, s in steps:
            middle = kernel.noise(x0, at(s, ROWS), rng=_rng("to s", s, t)).state
            twice = kernel.renoise(middle, at(s, ROWS), at(t, ROWS), rng=_rng("to t", s, t))
            once = kernel.noise(x0, at(t, ROWS), rng=_rng("at once", s, t)).state
            what = f"{where}: renoise(noise(x0, {s}), {s}, {t}) against noise(x0, {t})"
            assert_same_distribution(twice, once, what, z_limit=z_limit)


def check_transition_law(
    kernel: AbstractKernel, codes: Examples, *, steps: Steps = STEPS, z_limit: float = Z_LIMIT
) -> None:
    """A step back from noise(x0, t) to s, with x0 known, is distributed as noise(x0, s), for every eta."""
    for x0, where in _copies(codes):
        for t, s in steps:
            expected = kernel.noise(x0, at(s, ROWS), rng=_rng("expected", s, t)).state
            for eta in (0.0, 0.5, 1.0):
                xt = kernel.noise(x0, at(t, ROWS), rng=_rng("state", s, t, eta)).state
                step = kernel.transition(x0, xt, at(t, ROWS), at(s, ROWS), eta=eta)
                what = f"{where}: step from t = {t} to {s} at eta = {eta} against noise(x0, {s})"
                assert_same_distribution(step.sample(_rng("step", s, t, eta)), expected, what, z_limit=z_limit)


def check_ancestral_law(
    kernel: AbstractKernel, codes: Examples, *, steps: Steps = STEPS, z_limit: float = Z_LIMIT
) -> None:
    """At eta = 1 a step reverses the forward process: (x_s, x_t) given x0 are distributed jointly as forwards.

    A step that ignores x_t obeys the transition law, but not this.
    """
    for x0, where in _copies(codes):
        for t, s in steps:
            xt = kernel.noise(x0, at(t, ROWS), rng=_rng("backward", s, t)).state
            xs = kernel.transition(x0, xt, at(t, ROWS), at(s, ROWS), eta=1.0).sample(_rng("step", s, t))
            forward_s = kernel.noise(x0, at(s, ROWS), rng=_rng("forward", s, t)).state
            forward_t = kernel.renoise(forward_s, at(s, ROWS), at(t, ROWS), rng=_rng("on", s, t))
            what = f"{where}: pair at t = {s} and {t}, backward and forward"
            assert_same_pairs((xs, xt), (forward_s, forward_t), what, z_limit=z_limit)


def check_no_step(kernel: AbstractKernel, codes: Examples, *, times: Sequence[Moment] = (0.0, 1e-8, 0.4, 1.0)) -> None:
    """A step from t to t leaves the state as it is, to the last bit."""
    for x0, where in _copies(codes):
        for time in times:
            xt = kernel.noise(x0, at(time, ROWS), rng=_rng("state", time)).state
            for eta in (0.0, 1.0):
                step = kernel.transition(x0, xt, at(time, ROWS), at(time, ROWS), eta=eta)
                assert_equal(step.sample(_rng("step")), xt, f"{where}: sample of a step from t = {time} to itself")
                assert_equal(step.mean, xt, f"{where}: mean of a step from t = {time} to itself")


def check_transition_mean(kernel: AbstractKernel, codes: Examples) -> None:
    """The mean that a step states is that of its samples."""
    for x0, where in _copies(codes):
        for t, s in STEPS:
            for eta in (0.0, 1.0):
                xt = kernel.noise(x0, at(t, ROWS), rng=_rng("state", s, t)).state
                step = kernel.transition(x0, xt, at(t, ROWS), at(s, ROWS), eta=eta)
                error = step.sample(_rng("step", s, t)).double() - step.mean.double()
                what = f"{where}: sample less mean of a step from t = {t} to {s} at eta = {eta}"
                assert_same_mean(error, torch.zeros_like(error), what)


LAWS = (
    check_identity_at_data,
    check_prior_at_end,
    check_semigroup,
    check_transition_law,
    check_ancestral_law,
    check_no_step,
    check_transition_mean,
)
"""Laws for kernels of any support."""
