"""Phantom cohorts: brains whose joint distribution with age and sex is known, so that Bayes errors are known too."""

from metavoxel.phantom.bayes import Bounds, Posterior, bounds, posterior
from metavoxel.phantom.factors import FactorModel
from metavoxel.phantom.folder import Progress, Truth, read_truth, write_phantom
from metavoxel.phantom.settings import MissingSettings, PhantomSettings

__all__ = [
    "Bounds",
    "FactorModel",
    "MissingSettings",
    "PhantomSettings",
    "Posterior",
    "Progress",
    "Truth",
    "bounds",
    "posterior",
    "read_truth",
    "write_phantom",
]
