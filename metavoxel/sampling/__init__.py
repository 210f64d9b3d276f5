"""Sampling: the walk from the prior to data, for every subset of what is known."""
