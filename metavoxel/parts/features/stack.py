"""Features with equal settings, evaluated together."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from metavoxel.parts.features.base import AbstractFeatures, GaussianLikelihood
from metavoxel.parts.stacking import Stack, row_times
from metavoxel.typing import Code, Mask, Time


class FeatureStack:
    """Features that differ only in their buffers. Methods take and return lists with one entry for each. Final."""

    def __init__(self, features: Sequence[AbstractFeatures]) -> None:
        self._stack = Stack(features)
        self._none: list[Tensor | None] = [None for _ in features]

    def likelihood(self, x: Sequence[Code], time: Sequence[Time], observed: Sequence[Mask]) -> list[GaussianLikelihood]:
        """Return the likelihoods of the features given noisy codes."""
        found = self._stack(lambda one, *inputs: tuple(one.likelihood(*inputs)), x, row_times(time), observed)
        return [GaussianLikelihood(*parts) for parts in zip(*found, strict=True)]

    def baseline(self, x: Sequence[Code], time: Sequence[Time], expected: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the baseline's outputs from expected features."""

        def output(one: AbstractFeatures, *inputs: Any) -> tuple[Tensor, ...]:
            found = one.baseline(*inputs)
            return () if found is None else (found,)

        found = self._stack(output, x, row_times(time), expected)
        return list(found[0]) if found else self._none
