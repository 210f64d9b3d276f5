"""Statistical comparison of samples, and assertions on tensors that report the largest difference."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Z_LIMIT = 5.0
"""Allowed difference of two means in standard errors: exceeded by chance once in 1.7 million comparisons."""


def assert_same_distribution(
    first: Shaped[Tensor, "n *d"],
    second: Shaped[Tensor, "m *d"],
    what: str,
    *,
    slack: float = 0.0,
    z_limit: float = Z_LIMIT,
) -> None:
    """Compare the first four moments of two samples, cell by cell.

    The allowed difference of the k-th moment is increased by k ``slack``.
    """
    for power in range(1, 5):
        moments = first.double() ** power, second.double() ** power
        assert_same_mean(*moments, f"{what}: moment {power}", slack=power * slack, z_limit=z_limit)


def assert_same_pairs(
    first: tuple[Shaped[Tensor, "n *d"], Shaped[Tensor, "n *d"]],
    second: tuple[Shaped[Tensor, "m *d"], Shaped[Tensor, "m *d"]],
    what: str,
    *,
    z_limit: float = Z_LIMIT,
) -> None:
    """Compare two samples of pairs by the moments of each element and by all cross products of the elements."""
    for element in range(2):
        assert_same_distribution(
            first[element], second[element], f"{what}, element {element} of the pair", z_limit=z_limit
        )
    products = _products(*first), _products(*second)
    assert_same_mean(*products, f"{what}: product of the pair's elements", z_limit=z_limit)


def _products(a: Tensor, b: Tensor) -> Float[Tensor, "n d d"]:
    return a.double().flatten(1)[:, :, None] * b.double().flatten(1)[:, None, :]


def assert_same_mean(
    first: Shaped[Tensor, "n *d"],
    second: Shaped[Tensor, "m *d"],
    what: str,
    *,
    slack: float = 0.0,
    z_limit: float = Z_LIMIT,
) -> None:
    """Fail where means differ by more than ``z_limit`` standard errors plus float32 rounding plus ``slack``."""
    first, second = first.double().flatten(1), second.double().flatten(1)
    assert bool(first.isfinite().all() and second.isfinite().all()), f"{what}: not all finite"
    mean_first, mean_second = first.mean(0), second.mean(0)
    error = torch.sqrt(first.var(0) / len(first) + second.var(0) / len(second))
    rounding = 1e-5 * (1 + mean_second.abs())
    excess = (mean_first - mean_second).abs() - z_limit * error - rounding - slack
    worst = int(excess.argmax())
    assert excess[worst] <= 0, (
        f"{what}: {float(mean_first[worst]):.5g} where {float(mean_second[worst]):.5g} is expected "
        f"(standard error {float(error[worst]):.2g}, cell {worst})"
    )


def assert_equal(actual: Tensor, expected: Tensor, what: str, *, tolerance: float = 0.0) -> None:
    """Fail if two tensors differ in shape, or by more than ``tolerance`` (absolute)."""
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if actual.numel() == 0:
        return
    same = actual == expected  # also where both are the same infinity
    difference = torch.where(same, 0.0, (actual.double() - expected.double()).abs())
    worst = float(difference.nan_to_num(nan=float("inf")).max())
    assert worst <= tolerance, f"{what}: differs by up to {worst:.3g} (allowed {tolerance:.3g})"


def assert_shape(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    """Fail if a tensor does not have the expected shape."""
    assert tuple(tensor.shape) == shape, f"{what}: shape {tuple(tensor.shape)}, expected {shape}"


def assert_finite(tensor: Tensor, what: str) -> None:
    """Fail on NaN and infinite values."""
    bad = int((~tensor.isfinite()).sum())
    assert bad == 0, f"{what}: {bad} of {tensor.numel()} numbers are not finite"


def assert_differs(first: Tensor, second: Tensor, what: str) -> None:
    """Fail if two tensors are equal."""
    assert not torch.equal(first, second), what
