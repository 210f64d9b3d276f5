"""Conformance checks of kernels: contracts of the interface.

Sampling distributions are checked in ``kernel_distributions``, and sampling from exact posteriors in
``kernel_oracles``.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from metavoxel.parts.conformance.checks import Check, bound
from metavoxel.parts.conformance.kernel_distributions import DISTRIBUTION_CHECKS, Examples, at
from metavoxel.parts.conformance.kernel_examples import example_codes
from metavoxel.parts.conformance.kernel_indices import KernelOfIndices, check_indices
from metavoxel.parts.conformance.kernel_oracles import (
    check_density,
    check_mixture_oracle,
    check_one_hot_oracle,
    check_signal_to_noise,
)
from metavoxel.parts.conformance.settings import SETTINGS_CHECKS
from metavoxel.parts.conformance.statistics import assert_differs, assert_equal, assert_finite, assert_shape
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.typing import Code, Time


def kernel_checks(kernel: AbstractKernel, codes: Examples | None = None) -> Iterator[Check]:
    """Yield all checks of a kernel.

    Args:
        kernel: settings to check; call once for every combination of settings that a plugin offers.
        codes: batches of clean codes, each (b, c, *s) with b >= 3. Defaults to scalars and small grids for the supports
            "real" and "one_hot"; required for any other support.

    Raises:
        ValueError: ``codes`` is missing for a support that is not built in.
    """
    if codes is None:
        codes = example_codes(kernel.support)
    subject = " ".join(_setting_names(kernel.model_dump()))
    for check in SETTINGS_CHECKS:
        yield bound(subject, check, kernel)
    yield from _of_any_support(subject, kernel, codes)
    if kernel.takes_indices:
        yield bound(subject, check_indices, kernel, codes)
        yield from _of_any_support(f"indices {subject}", KernelOfIndices(kernel=kernel), codes)
    if kernel.support == "real":
        yield bound(subject, check_signal_to_noise, kernel)
        yield bound(subject, check_density, kernel)
        yield bound(subject, check_mixture_oracle, kernel)


def _of_any_support(subject: str, kernel: AbstractKernel, codes: Examples) -> Iterator[Check]:
    yield from (bound(subject, check, kernel, codes) for check in (*CONTRACTS, *DISTRIBUTION_CHECKS))
    if kernel.is_categorical:
        yield bound(subject, check_one_hot_oracle, kernel)


def _setting_names(settings: Mapping[str, object]) -> Iterator[str]:
    for value in settings.values():
        if isinstance(value, Mapping):
            yield from _setting_names(value)
        elif isinstance(value, str):
            yield value


def _rows(code: Code, *parts: str) -> Rng:
    return Rng.for_rows(len(code), *parts)


def perfect_prediction(kernel: AbstractKernel, target: Tensor, t: Time) -> Tensor:
    """Return the prediction of least loss: the target itself, or logits peaked at it."""
    candidates = (target, 100.0 * target)
    return min(candidates, key=lambda candidate: float(kernel.loss(candidate, target, t).double().mean()))


def check_problems_none(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that ``problems()`` reports no inconsistent settings, and that ``support`` is a non-empty string."""
    assert isinstance(kernel.support, str) and kernel.support, "support must be a non-empty string"
    assert not (kernel.is_gaussian and kernel.is_categorical), "noise of one-hot codes cannot be Gaussian"
    assert not kernel.problems(), f"the kernel reports: {'; '.join(kernel.problems())}"


def check_log_snr(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that the log signal-to-noise ratio is float64, infinite at t = 0 and strictly decreasing in t."""
    times = torch.cat([torch.tensor([0.0, 1e-8, 1e-4]), torch.linspace(0.01, 1, 100)]).double()
    value = kernel.log_snr(times)
    assert value.dtype == torch.float64, f"log_snr is {value.dtype}, expected torch.float64"
    assert_shape(value, (len(times),), "log_snr")
    assert value[0] == float("inf"), f"log_snr(0) is {float(value[0])}, expected infinity: t = 0 is data"
    assert bool((value[1:] < value[:-1]).all()), "log_snr is not strictly decreasing"
    assert_finite(value[1:-1], "log_snr for 0 < t < 1")


def check_time_of(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that ``time_of`` inverts ``log_snr``, and maps infinity and minus infinity to the bounds 0 and 1."""
    times = torch.cat([torch.tensor([1e-4]), torch.linspace(0.01, 0.99, 99)]).double().reshape(10, 10)
    found = kernel.time_of(kernel.log_snr(times))
    assert found.dtype == torch.float64, f"time_of is {found.dtype}, expected torch.float64"
    assert_equal(found, times, "time_of(log_snr(t))", tolerance=1e-6)
    bounds = kernel.time_of(torch.tensor([float("inf"), float("-inf")]))
    assert bounds.tolist() == [0, 1], f"time_of infinity and minus infinity is {bounds.tolist()}, expected [0, 1]"


def check_predicts_mean(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that a kernel with ``predicts_mean`` does not amplify errors of the prediction at t = 1.

    A prediction that is off by 0.01 must change E[x_0 | evidence] by at most 0.02.
    """
    if not kernel.predicts_mean:
        return
    for x0 in codes:
        t = at(1, len(x0))
        state, target = kernel.noise(x0, t, rng=_rows(x0, "noise"))
        perfect = perfect_prediction(kernel, target, t)
        x0_hat, perturbed = kernel.denoise(perfect, state, t), kernel.denoise(perfect + 0.01, state, t)
        assert_equal(perturbed, x0_hat, "denoise at t = 1 of a prediction that is off by 0.01", tolerance=0.02)


def check_shapes(kernel: AbstractKernel, codes: Examples) -> None:
    """Check the shapes of states, targets, losses (unreduced, one value per cell) and transitions."""
    for x0 in codes:
        t = at(0.5, len(x0))
        rows, channels, *grid = x0.shape
        state, target = kernel.noise(x0, t, rng=_rows(x0, "noise"))
        assert_shape(state, tuple(x0.shape), "noise(...).state")
        assert_shape(target, (rows, kernel.prediction_channels(channels), *grid), "noise(...).target")
        assert_shape(kernel.prior(tuple(x0.shape), rng=_rows(x0, "prior"), like=x0), tuple(x0.shape), "prior")
        assert_shape(kernel.renoise(state, t, at(0.6, rows), rng=_rows(x0)), tuple(x0.shape), "renoise")
        prediction = perfect_prediction(kernel, target, t)
        assert_shape(kernel.loss(prediction, target, t), (rows, 1, *grid), "loss (unreduced, averaged over channels)")
        assert_shape(kernel.denoise(prediction, state, t), tuple(x0.shape), "denoise")
        step = kernel.transition(x0, state, t, at(0.2, rows), eta=0.5)
        assert_shape(step.mean, tuple(x0.shape), "transition(...).mean")
        sample = step.sample(_rows(x0, "step"))
        assert_shape(sample, tuple(x0.shape), "transition(...).sample")
        assert_shape(step.log_prob(sample), (rows,), "transition(...).log_prob")
        assert_shape(step.cell_log_prob(sample), (rows, 1, *grid), "transition(...).cell_log_prob")


def check_precision_kept(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that all outputs keep the device and dtype of the code."""
    for x0 in codes:
        for dtype in (torch.float32, torch.float64):
            code, t = x0.to(dtype), at(0.5, len(x0))
            state, target = kernel.noise(code, t, rng=_rows(x0, "noise"))
            prediction = perfect_prediction(kernel, target, t)
            step = kernel.transition(code, state, t, at(0.2, len(x0)), eta=1.0)
            results = {
                "noise(...).state": state,
                "prior": kernel.prior(tuple(code.shape), rng=_rows(x0, "prior"), like=code),
                "renoise": kernel.renoise(state, t, at(0.6, len(x0)), rng=_rows(x0, "again")),
                "denoise": kernel.denoise(prediction, state, t),
                "transition(...).mean": step.mean,
                "transition(...).sample": step.sample(_rows(x0, "step")),
            }
            for what, tensor in results.items():
                assert tensor.dtype == dtype, f"{what} is {tensor.dtype} for a code in {dtype}"
                assert tensor.device == code.device, f"{what} is on {tensor.device} for a code on {code.device}"


def check_loss_finite(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that the loss and its gradient are finite for all t in [0, 1], for accurate and inaccurate predictions."""
    for x0 in codes:
        for time in (0.0, 1e-8, 0.5, 1.0):
            t = at(time, len(x0))
            target = kernel.noise(x0, t, rng=_rows(x0, "noise")).target
            noise = _rows(x0, "prediction").normal(tuple(target.shape), dtype=x0.dtype).to(x0.device)
            for prediction in (noise, 30 * noise, perfect_prediction(kernel, target, t)):
                prediction = prediction.clone().requires_grad_()
                loss = kernel.loss(prediction, target, t)
                assert_finite(loss, f"loss at t = {time}")
                (gradient,) = torch.autograd.grad(loss.sum(), prediction)
                assert_finite(gradient, f"gradient of the loss at t = {time}")


def check_perfect_prediction(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that ``denoise`` recovers the data from the target wherever the signal is not zero."""
    for x0 in codes:
        for time in (0.0, 1e-8, 0.01, 0.5, 0.95):
            t = at(time, len(x0))
            signal = float(torch.sigmoid(kernel.log_snr(t[:1])).sqrt())
            state, target = kernel.noise(x0, t, rng=_rows(x0, "noise"))
            recovered = kernel.denoise(perfect_prediction(kernel, target, t), state, t)
            assert_equal(recovered, x0, f"denoise of a perfect prediction at t = {time}", tolerance=2e-5 / signal)


def _outputs(kernel: AbstractKernel, x0: Code, t: Time, s: Time, rng: Rng) -> Iterator[tuple[str, Tensor]]:
    """Yield all outputs of a kernel for some rows, each with its name."""
    state, target = kernel.noise(x0, t, rng=rng.fork("noise"))
    yield "noise(...).state", state
    yield "noise(...).target", target
    earlier = kernel.noise(x0, s, rng=rng.fork("earlier")).state
    yield "renoise", kernel.renoise(earlier, s, t, rng=rng.fork("renoise"))
    yield "loss", kernel.loss(0.7 * target, target, t)
    yield "denoise", kernel.denoise(0.7 * target, state, t)
    for eta in (0.0, 1.0):
        step = kernel.transition(x0, state, t, s, eta=eta)
        yield f"transition(..., eta={eta}).mean", step.mean
        yield f"transition(..., eta={eta}).sample", step.sample(rng.fork("step"))
        if eta == 1:
            yield "transition(...).log_prob", step.log_prob(step.sample(rng.fork("step")))
            yield "transition(...).cell_log_prob", step.cell_log_prob(step.sample(rng.fork("step")))


def assert_rows_independent(kernel: AbstractKernel, x0: Code, t: Time, s: Time) -> None:
    """Fail where the outputs for a row, at its times t and s, depend on the other rows of the batch."""
    rng = _rows(x0, "rows")
    together = dict(_outputs(kernel, x0, t, s, rng))
    for row in range(len(x0)):
        one = slice(row, row + 1)
        for what, alone in _outputs(kernel, x0[one], t[one], s[one], rng[one]):
            assert_equal(together[what][one], alone, f"{what}: row {row} in a batch and alone", tolerance=1e-5)


def check_rows_independent(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that outputs are independent of the other rows of a batch, for times that differ between rows."""
    for x0 in codes:
        t = torch.tensor([0.5, 1.0, 0.3], dtype=torch.float64).repeat(len(x0))[: len(x0)]
        s = torch.tensor([0.2, 0.4, 0.0], dtype=torch.float64).repeat(len(x0))[: len(x0)]
        assert_rows_independent(kernel, x0, t, s)


def check_cells_independent(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that times per cell give each cell the outputs of a row that has this time everywhere, if cellwise."""
    if not kernel.is_cellwise:
        return
    for code in codes:
        x0 = code.repeat(20, *[1] * (code.ndim - 1))  # by chance, a single class is the same at two times
        cells = (len(x0), 1, *x0.shape[2:])
        choice = (_rows(x0, "times").uniform(cells) * 3).long()
        t_of, s_of = (torch.tensor(times, dtype=torch.float64) for times in ((0.5, 1.0, 0.3), (0.2, 0.4, 0.0)))
        rng = _rows(x0, "cells")
        mixed = dict(_outputs(kernel, x0, t_of[choice], s_of[choice], rng))
        for index in range(3):
            mask, t, s = choice == index, t_of[index].expand(len(x0)), s_of[index].expand(len(x0))
            for what, uniform in _outputs(kernel, x0, t, s, rng):
                if uniform.ndim == x0.ndim:
                    expected, actual = (torch.where(mask, tensor, 0) for tensor in (uniform, mixed[what]))
                    assert_equal(actual, expected, f"{what}: cells at t = {t[0]} among others", tolerance=1e-5)


def check_determined_by_keys(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that equal keys give equal draws and different keys different draws."""
    for x0 in codes:
        many = x0.repeat(20, *[1] * (x0.ndim - 1))
        t, s = at(0.8, len(many)), at(0.4, len(many))
        first = dict(_outputs(kernel, many, t, s, _rows(many, "keys")))
        again = dict(_outputs(kernel, many, t, s, _rows(many, "keys")))
        other = dict(_outputs(kernel, many, t, s, _rows(many, "other keys")))
        for what in first:
            assert_equal(again[what], first[what], f"{what} with the same keys")
        for what in ("noise(...).state", "renoise", "transition(..., eta=1.0).sample"):
            assert_differs(first[what], other[what], f"{what} is the same with other keys")


def check_inputs_unchanged(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that no input is modified in place."""
    for x0 in codes:
        t, s = at(0.8, len(x0)), at(0.4, len(x0))
        inputs = (x0.clone(), t.clone(), s.clone())
        for _ in _outputs(kernel, *inputs, _rows(x0, "inputs")):
            pass
        for tensor, before, name in zip(inputs, (x0, t, s), ("x0", "t", "s"), strict=True):
            assert_equal(tensor, before, f"{name} after use")


CONTRACTS = (
    check_problems_none,
    check_log_snr,
    check_time_of,
    check_predicts_mean,
    check_shapes,
    check_precision_kept,
    check_loss_finite,
    check_perfect_prediction,
    check_rows_independent,
    check_cells_independent,
    check_determined_by_keys,
    check_inputs_unchanged,
)
"""Interface checks for kernels of any support."""
