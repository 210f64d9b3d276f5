"""Kernels: how a variable's code is noised, and the reverse."""

from metavoxel.kernels.d3pm import UniformD3PMKernel as D3PMUniform
from metavoxel.kernels.gaussian import GaussianKernel as Gaussian

__all__ = ["D3PMUniform", "Gaussian"]
