"""Adapters: how a variable's code enters a backbone, and how its prediction leaves it."""
