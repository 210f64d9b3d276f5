"""Backbones: the networks shared by all variables."""
