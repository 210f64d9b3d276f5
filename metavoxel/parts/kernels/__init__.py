"""Kernels: forward and reverse diffusion of one variable's code."""

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel as D3PMUniform
from metavoxel.parts.kernels.gaussian import GaussianKernel as Gaussian

__all__ = ["D3PMUniform", "Gaussian"]
