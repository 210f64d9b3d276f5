"""Check the contracts of plugin parts on rows of the cohort, before training.

The checks are the fast ones of :mod:`metavoxel.parts.conformance`; built-in parts are not checked.
"""

from collections.abc import Mapping

import torch

from metavoxel.cohort.cohort import Cohort
from metavoxel.network.joint import JointModel
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.conformance import adapters, backbones, codecs, kernels
from metavoxel.parts.conformance.kernel_indices import KernelOfIndices
from metavoxel.parts.indices import one_hot
from metavoxel.plugins.registry import attribute_errors, is_builtin
from metavoxel.schema import Schema
from metavoxel.typing import AnyCode

ROWS = 4


def check_codec(name: str, schema: Schema, codec: AbstractCodec, cohort: Cohort) -> None:
    """Check the codes of a few training rows: shape, dtype, finite values, and inputs unchanged.

    Raises:
        PluginError: the codec comes from a plugin and violates its contract.
    """
    spec = schema.variables[name].parts.codec
    if is_builtin(spec):
        return
    rows = cohort.parts["train"]
    rows = rows[cohort.columns[name].present[rows]][:ROWS]
    values = cohort.columns[name].read(rows).to(next(codec.buffers(), torch.zeros(())).device)
    with attribute_errors(spec, f"variables.{name}.codec"):
        for check in (codecs.check_code_shape, codecs.check_code_precision, codecs.check_inputs_unchanged):
            check(codec, values)


def check_joint(schema: Schema, joint: JointModel, codes: Mapping[str, AnyCode]) -> None:
    """Check kernels, adapters and backbone on a few codes.

    Raises:
        PluginError: one of them comes from a plugin and violates its contract.
    """
    for name, variable in schema.variables.items():
        where = f"variables.{name}"
        if not is_builtin(variable.parts.kernel):
            three, kernel = codes[name][torch.arange(3) % len(codes[name])], variable.parts.kernel
            if joint.kernels[name].indexed:
                three, kernel = one_hot(three[:, 0], joint.code_shapes[name][0]), KernelOfIndices(kernel=kernel)
            with attribute_errors(variable.parts.kernel, f"{where}.kernel"):
                for kernel_check in (kernels.check_shapes, kernels.check_loss_finite, kernels.check_inputs_unchanged):
                    kernel_check(kernel, [three])
        if not is_builtin(variable.parts.adapter):
            adapter, context = joint.adapter(name), joint.contexts[name]
            with attribute_errors(variable.parts.adapter, f"{where}.adapter"):
                for adapter_check in (
                    adapters.check_stream_shapes, adapters.check_prediction_shape, adapters.check_inputs_unchanged,
                ):  # fmt: skip
                    adapter_check(adapter, context)
    if not is_builtin(schema.backbone):
        with attribute_errors(schema.backbone, "backbone"):
            for backbone_check in (backbones.check_feature_shapes, backbones.check_inputs_unchanged):
                backbone_check(joint.backbone, 2)
            if schema.diffusion.factors:
                backbones.check_links_respected(joint.backbone, 2)
