"""Comparison methods: other predictive and generative models, trained on the cohort and split of a run."""

from metavoxel.comparisons.compare import FOLDER, compare
from metavoxel.comparisons.record import Record
from metavoxel.comparisons.study import ComparisonSettings
from metavoxel.comparisons.table import METHODS

__all__ = ["FOLDER", "METHODS", "ComparisonSettings", "Record", "compare"]
