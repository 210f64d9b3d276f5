"""Comparison methods by name, those of :data:`metavoxel.evaluation.choices.MethodName`."""

from collections.abc import Mapping
from types import MappingProxyType

from metavoxel.evaluation.comparisons.architectures import BraidArchitecture, DenseNetArchitecture, ViTArchitecture
from metavoxel.evaluation.comparisons.base import AbstractComparison
from metavoxel.evaluation.comparisons.discriminative import NetworkComparison
from metavoxel.evaluation.comparisons.generative import ContinuousLabels, LatentDiffusion
from metavoxel.evaluation.comparisons.linear import LinearComparison

METHODS: Mapping[str, AbstractComparison] = MappingProxyType(
    {
        "linear": LinearComparison(),
        "densenet": NetworkComparison(DenseNetArchitecture()),
        "vit": NetworkComparison(ViTArchitecture()),
        "braid": NetworkComparison(BraidArchitecture(), categories=False),
        "ldm": LatentDiffusion(),
        "continuous_sex": ContinuousLabels(),
    }
)
