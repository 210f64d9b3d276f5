"""Kernels: how a variable's code is noised, and the reverse."""

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel as D3PMUniform
from metavoxel.parts.kernels.gaussian import GaussianKernel as Gaussian

__all__ = ["D3PMUniform", "Gaussian"]
