"""Adapters: from a variable's code to a backbone's inputs, and from its outputs to the variable's outputs."""
