"""Sampling: trajectories from the prior to the data, given evidence on any subset of the variables."""
