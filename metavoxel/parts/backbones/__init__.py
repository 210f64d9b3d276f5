"""Backbones: the networks that all variables share."""
