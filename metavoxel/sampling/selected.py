"""A joint denoiser restricted to the estimates of some variables."""

from collections.abc import Callable, Mapping
from typing import final

import torch

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.typing import AnyCode, AnyMask, AnyTime


@final
class DenoiserOfSome:
    """A joint denoiser whose ``denoise`` returns the estimates of some variables only, given the states of all.

    Args:
        denoiser: of all variables.
        estimates: its estimates of these variables, as ``denoise``.
    """

    def __init__(self, denoiser: JointDenoiser, estimates: Callable[..., Mapping[str, AnyCode]]) -> None:
        self._denoiser, self._estimates = denoiser, estimates

    @property
    def kernels(self) -> Mapping[str, AbstractKernel]:
        """Kernels of all variables."""
        return self._denoiser.kernels

    @property
    def code_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Code shape of every variable, without the batch axis."""
        return self._denoiser.code_shapes

    @property
    def device(self) -> torch.device:
        """Device of the states."""
        return self._denoiser.device

    def denoise(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> Mapping[str, AnyCode]:
        """Return E[x_0 | all states] of these variables; class probabilities for a category."""
        return self._estimates(states, times, observed)
