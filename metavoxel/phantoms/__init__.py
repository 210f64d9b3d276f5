"""Phantom cohorts: simulated brains with a known joint distribution with age and sex, and known Bayes errors."""

from metavoxel.phantoms.bayes import Bounds, Posterior, bounds, posterior
from metavoxel.phantoms.factors import FactorModel
from metavoxel.phantoms.folder import Truth, read_truth, write_phantom
from metavoxel.phantoms.schema import write_schema
from metavoxel.phantoms.settings import MissingSettings, PhantomSettings, phantom_settings
from metavoxel.phantoms.subjects import Progress

__all__ = [
    "Bounds",
    "FactorModel",
    "MissingSettings",
    "PhantomSettings",
    "Posterior",
    "Progress",
    "Truth",
    "bounds",
    "phantom_settings",
    "posterior",
    "read_truth",
    "write_phantom",
    "write_schema",
]
