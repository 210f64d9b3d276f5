"""Utilities for checks of adapters and backbones: perturbed weights, gradients and comparison of outputs."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from metavoxel.parts.conformance.statistics import assert_equal
from metavoxel.rng import Rng

ROWS = 3

Module = TypeVar("Module", bound=nn.Module)


def random_like(name: str, *shape: int) -> Tensor:
    """Draw standard normal numbers for ``ROWS`` rows, determined by ``name``."""
    return Rng.for_rows(ROWS, "testing", name).normal((ROWS, *shape))


def at_generic_weights(module: Module) -> Module:
    """Return a copy in evaluation mode with small Gaussian perturbations added to all weights.

    Heads and gates are often initialised at zero, where outputs do not depend on earlier layers.
    """
    module = deepcopy(module).eval()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            if parameter.is_floating_point():
                draw = Rng.for_rows(1, "weights", index).normal((1, parameter.numel())).reshape(parameter.shape)
                parameter.add_(0.1 * draw.to(parameter))
    return module


def assert_gradient_everywhere(module: nn.Module, outputs: Iterable[Tensor]) -> None:
    """Fail if the gradient of any weight is missing, all zero or not finite."""
    total = torch.zeros(())
    for output in outputs:
        factor = Rng.for_rows(len(output), "loss").normal(tuple(output.shape))
        total = total + (output * factor.to(output)).sum()  # an unweighted sum has no gradient through normalisations
    module.zero_grad()
    total.backward()
    without = [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not bool(parameter.grad.any()))
    ]
    assert not without, f"no gradient reaches {', '.join(without)}"
    infinite = [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
    ]
    assert not infinite, f"the gradient of {', '.join(infinite)} is not finite"


def assert_some_differ(first: Sequence[Tensor], second: Sequence[Tensor], what: str) -> None:
    """Fail if all outputs equal their counterparts."""
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not same, what


def assert_all_close(first: Sequence[Tensor], second: Sequence[Tensor], what: str) -> None:
    """Fail if any output differs from its counterpart by more than rounding."""
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        close = 1e-4 * (1 + max(b.detach().abs().flatten().tolist(), default=0.0))
        assert_equal(a.detach(), b.detach(), f"{what} (output {index})", tolerance=close)
