"""Conformance checks, oracles and hypothesis strategies, for built-in parts and plugins.

A complete conformance test of a plugin::

    import my_plugin
    from metavoxel.testing import parametrize_checks, plugin_checks

    @parametrize_checks(plugin_checks(my_plugin))
    def test_conformance(check):
        check.run()

Strategies are in ``metavoxel.testing.strategies``, which requires hypothesis: ``pip install metavoxel[testing]``.
"""

from metavoxel.parts.conformance.adapters import adapter_checks, with_common
from metavoxel.parts.conformance.backbones import backbone_checks
from metavoxel.parts.conformance.checks import Check, CheckResult, parametrize_checks, run_checks
from metavoxel.parts.conformance.codecs import codec_checks
from metavoxel.parts.conformance.features import feature_checks
from metavoxel.parts.conformance.kernels import kernel_checks
from metavoxel.parts.conformance.variables import variable_checks
from metavoxel.testing.oracle import MixtureOracle
from metavoxel.testing.plugins import installed_checks, plugin_checks
from metavoxel.testing.posterior import MixturePosterior

__all__ = [
    "Check",
    "CheckResult",
    "MixtureOracle",
    "MixturePosterior",
    "adapter_checks",
    "backbone_checks",
    "codec_checks",
    "feature_checks",
    "installed_checks",
    "kernel_checks",
    "parametrize_checks",
    "plugin_checks",
    "run_checks",
    "variable_checks",
    "with_common",
]
