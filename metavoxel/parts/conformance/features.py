"""Conformance checks of features."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor

from metavoxel.parts.adapters.base import AdapterContext
from metavoxel.parts.conformance.checks import Check, bound
from metavoxel.parts.conformance.modules import ROWS, assert_all_close, random_like
from metavoxel.parts.conformance.statistics import assert_equal, assert_finite, assert_shape
from metavoxel.parts.features.base import AbstractFeatures, GaussianLikelihood
from metavoxel.parts.features.stack import FeatureStack
from metavoxel.rng import Rng


def feature_checks(features: AbstractFeatures, context: AdapterContext) -> Iterator[Check]:
    """Yield all checks of features; they fit copies only.

    Args:
        features: not fitted.
        context: of the variable's adapter.
    """
    yield from (bound(type(features).__name__, check, features, context) for check in CHECKS)


def _codes(context: AdapterContext, name: str) -> Tensor:
    """Return random codes: one-hot for a kernel of categories."""
    codes = random_like(name, *context.code_shape)
    if not context.kernel.is_categorical:
        return codes
    return torch.nn.functional.one_hot(codes.argmax(1), codes.shape[1]).movedim(-1, 1).to(codes)


def _fitted(features: AbstractFeatures, context: AdapterContext) -> AbstractFeatures:
    copy = deepcopy(features).eval()
    codes = _codes(context, "fit")
    copy.fit(lambda: [codes])
    return copy


def check_features(features: AbstractFeatures, context: AdapterContext) -> None:
    """Features are finite, ``size`` per row, and their reconstruction has the code's shape."""
    fitted, x0 = _fitted(features, context), _codes(context, "code")
    found = fitted.features_of(x0)
    assert_shape(found, (ROWS, fitted.size), "features_of")
    assert_finite(found, "features_of")
    code = fitted.reconstruct(found)
    if code is not None:
        assert_shape(code, tuple(x0.shape), "reconstruct")
        assert_finite(code, "reconstruct")
    points = fitted.points()
    if points is not None:
        assert_shape(points, (len(points), fitted.size), "points")
        assert_finite(points, "points")


def check_likelihood(features: AbstractFeatures, context: AdapterContext) -> None:
    """The likelihood is Gaussian for every row: a finite, symmetric, positive semi-definite precision."""
    fitted, x = _fitted(features, context), _codes(context, "code")
    observed = Rng.for_rows(ROWS, "times").uniform((ROWS, 1, *context.code_shape[1:])) < 0.4
    for time in (0.0, 0.5, 1.0):
        at = torch.full((ROWS,), time, dtype=torch.float64)
        found = fitted.likelihood(x, at, observed | (time == 0) if time < 1 else observed & False)
        assert_shape(found.precision, (ROWS, fitted.size, fitted.size), "likelihood(...).precision")
        assert_shape(found.weighted, (ROWS, fitted.size), "likelihood(...).weighted")
        assert_finite(found.precision, "likelihood(...).precision")
        assert_finite(found.weighted, "likelihood(...).weighted")
        assert_all_close([found.precision], [found.precision.mT], "likelihood(...).precision and its transpose")
        if fitted.size:
            least = float(torch.linalg.eigvalsh(found.precision).min())
            assert least > -1e-3 * (1 + float(found.precision.abs().max())), (
                "likelihood(...).precision is not a precision"
            )


def _inputs(features: AbstractFeatures, context: AdapterContext) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    time = torch.tensor([0.3, 0.0, 1.0], dtype=torch.float64)
    observed = (time == 0).reshape(-1, *[1] * len(context.code_shape)).expand(ROWS, 1, *context.code_shape[1:])
    return _codes(context, "code"), time, observed, random_like("expected", features.size)


def check_baseline(features: AbstractFeatures, context: AdapterContext) -> None:
    """The baseline's outputs have ``outputs`` channels, and their link those of the kernel's prediction."""
    fitted = _fitted(features, context)
    x, time, _, expected = _inputs(features, context)
    grid = context.code_shape[1:]
    outputs = fitted.baseline(x, time, expected)
    if outputs is None:
        outputs = random_like("baseline", fitted.outputs, *grid)
    assert_shape(outputs, (ROWS, fitted.outputs, *grid), "baseline")
    assert_finite(outputs, "baseline")
    prediction = fitted.link(outputs)
    channels = context.kernel.prediction_channels(context.code_shape[0])
    assert_shape(prediction, (ROWS, channels, *grid), "link")
    assert_finite(prediction, "link")


def check_inputs_unchanged(features: AbstractFeatures, context: AdapterContext) -> None:
    """No method writes to its inputs."""
    fitted, given = _fitted(features, context), tuple(tensor.clone() for tensor in _inputs(features, context))
    x, time, observed, expected = given
    fitted.features_of(x)
    fitted.likelihood(x, time, observed)
    fitted.baseline(x, time, expected)
    names = ("x", "time", "observed", "expected")
    for name, tensor, before in zip(names, given, _inputs(features, context), strict=True):
        assert_equal(tensor, before, name)


def check_fit_in_state(features: AbstractFeatures, context: AdapterContext) -> None:
    """The result of ``fit`` is in ``state_dict``."""
    source, other = _fitted(features, context), deepcopy(features).eval()
    other.load_state_dict(source.state_dict())
    assert_all_close(_all_of(other, context), _all_of(source, context), "results after loading the state")


def _all_of(features: AbstractFeatures, context: AdapterContext) -> list[Tensor]:
    x, time, observed, expected = _inputs(features, context)
    outputs = features.baseline(x, time, expected)
    found = [features.features_of(x), *features.likelihood(x, time, observed)]
    return found if outputs is None else [*found, outputs]


def check_stacked(features: AbstractFeatures, context: AdapterContext) -> None:
    """Two features of different buffers, evaluated together, return the results of each alone, if stackable."""
    if not features.stackable:
        return
    both = [deepcopy(features).eval(), _fitted(features, context)]
    stack = FeatureStack(both)
    x, time, observed, expected = ([entry, entry] for entry in _inputs(features, context))
    likelihoods: list[GaussianLikelihood] = stack.likelihood(x, time, observed)
    baselines = stack.baseline(x, time, expected)
    for place, each in enumerate(both):
        outputs = baselines[place]
        stacked = [*likelihoods[place], *([] if outputs is None else [outputs])]
        assert_all_close(stacked, _all_of(each, context)[1:], "two features evaluated together and each alone")


CHECKS = (
    check_features,
    check_likelihood,
    check_baseline,
    check_inputs_unchanged,
    check_fit_in_state,
    check_stacked,
)
"""Checks of any features."""
