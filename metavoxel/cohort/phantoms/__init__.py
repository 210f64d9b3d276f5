"""Phantom cohorts: simulated brains with a known joint distribution with age and sex, and known Bayes errors."""

from metavoxel.cohort.phantoms.bayes import Bounds, Posterior, bounds, posterior
from metavoxel.cohort.phantoms.factors import FactorModel
from metavoxel.cohort.phantoms.folder import Truth, read_truth, write_phantom
from metavoxel.cohort.phantoms.schema import write_schema
from metavoxel.cohort.phantoms.settings import MissingSettings, PhantomSettings, phantom_settings
from metavoxel.cohort.phantoms.subjects import Progress

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
