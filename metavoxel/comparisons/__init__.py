"""Comparison methods: others' ways to answer a run's questions, trained on its cohort and split."""

from metavoxel.comparisons.compare import FOLDER, compare
from metavoxel.comparisons.record import Record
from metavoxel.comparisons.study import ComparisonSettings
from metavoxel.comparisons.table import METHODS

__all__ = ["FOLDER", "METHODS", "ComparisonSettings", "Record", "compare"]
