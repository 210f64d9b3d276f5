"""Example codes of the built-in supports, with which kernels are checked."""

import torch

from metavoxel.parts.conformance.kernel_distributions import Examples
from metavoxel.rng import Rng


def has_example_codes(support: str) -> bool:
    """Return whether a support is built in, so that its kernels need no codes."""
    return support in ("real", "one_hot")


def example_codes(support: str) -> Examples:
    """Return example batches of codes of a built-in support: scalars and grids, including extreme values.

    Raises:
        ValueError: the support is not built in.
    """
    if support == "real":
        wide = Rng.for_rows(3, "example codes").normal((3, 2, 2, 3))
        return [torch.tensor([[0.7], [-4.0], [0.0]]), wide]
    if support == "one_hot":
        binary = torch.eye(2)[[1, 0, 1]]
        five = torch.eye(5)[[3, 0, 4]]
        grid = torch.eye(3)[torch.tensor([[0, 1], [2, 2], [1, 0]])].movedim(-1, 1).contiguous()
        return [binary, five, grid]
    raise ValueError(f"support {support!r} is not built in: pass example codes to kernel_checks(kernel, codes)")
