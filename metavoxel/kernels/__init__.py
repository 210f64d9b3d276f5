"""Kernels: how a variable's code is noised, and the reverse."""
