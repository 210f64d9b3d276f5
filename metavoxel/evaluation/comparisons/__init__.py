"""Comparison methods: other predictive and generative models, trained on the cohort and split of a run."""

from metavoxel.evaluation.comparisons.compare import FOLDER, compare
from metavoxel.evaluation.comparisons.methods import METHODS
from metavoxel.evaluation.comparisons.record import Record
from metavoxel.evaluation.comparisons.study import ComparisonSettings

__all__ = ["FOLDER", "METHODS", "ComparisonSettings", "Record", "compare"]
