"""Whether what a schema describes can be built: codecs, adapters and backbone, before any image is read.

Everything is built on torch's ``meta`` device, where tensors have shapes and no memory.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from metavoxel.errors import MetavoxelError, PluginError, Problem, SchemaError
from metavoxel.network.joint import port_name
from metavoxel.parts.adapters.base import AdapterContext
from metavoxel.parts.codecs.base import AbstractCodec, AbstractLearnedCodec
from metavoxel.parts.variables.spatial import AbstractSpatialSpec
from metavoxel.plugins.registry import attribute_errors
from metavoxel.schema import Schema

MOST_TENSORS = 30_000
"""Weights and buffers of one model; a network of a thousand variables has a fraction."""

_COPIES = 5
"""Of every weight in training: itself, its gradient, two moments and the moving average."""

_ACTIVATIONS = 8
"""Copies of a batch's codes or images that a step holds at the least."""


def check_buildable(schema: Schema, memory: int | None = None) -> None:
    """Build the codecs and the joint network that training would, without memory, and count what they take.

    Images whose grid is not known yet are taken to have the smallest there may be. Parts of plugins that cannot be
    built on the meta device are left to the training.

    Args:
        schema: as it was read, or with all that the cohort told filled in.
        memory: bytes that training may take; by default all that this machine or its largest GPU has.

    Raises:
        SchemaError: codecs that do not take their variable's data, settings that cannot be built, or more than fits.
    """
    budget = _Budget(_memory() if memory is None else memory)
    schema = _with_smallest_grids(schema)
    try:
        with torch.device("meta"), torch.no_grad(), budget.counted():
            codecs = _codecs(schema, budget)
            _adapters(schema, codecs, budget)
    except PluginError:
        return
    _check_batches(schema, codecs, budget)


class _Budget:
    """Bytes and tensors of weights that were registered, against those that there may be. Final."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._where, self._bytes, self._tensors = "", 0, 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Meanwhile weights and buffers of all modules count; too many raise where they are made."""
        handles = (
            register_module_parameter_registration_hook(lambda module, name, weight: self._add(weight, _COPIES)),
            register_module_buffer_registration_hook(lambda module, name, buffer: self._add(buffer, 1)),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def of(self, where: str) -> Iterator[None]:
        """Locate what goes wrong in here.

        Raises:
            SchemaError: in the place of any error but those of the user's making or a plugin's.
        """
        self._where, before = where, (self._bytes, self._tensors)
        try:
            yield
        except MetavoxelError:
            self._bytes, self._tensors = before
            raise
        except Exception as error:
            self._bytes, self._tensors = before
            what = f"cannot be built with these settings ({type(error).__name__}: {error}); change them"
            raise SchemaError(Problem(where, what)) from error

    def forget(self) -> None:
        """Start counting anew."""
        self._bytes, self._tensors = 0, 0

    def _add(self, tensor: Tensor | None, copies: int) -> None:
        if tensor is None or isinstance(tensor, nn.UninitializedParameter):
            return
        self._tensors += 1
        self.check(self._where, "the weights and what training keeps of each", tensor.nbytes * copies)
        if self._tensors > MOST_TENSORS:
            what = f"more than {MOST_TENSORS:,} tensors of weights; choose fewer layers or variables"
            raise SchemaError(Problem(self._where, what))

    def check(self, where: str, of_what: str, size: int) -> None:
        """Count so many bytes more.

        Raises:
            SchemaError: they do not fit.
        """
        self._bytes += size
        if self._bytes > self.memory:
            what = (
                f"{of_what} take more than {self._bytes / 1e9:.3g} GB, and this machine has "
                f"{self.memory / 1e9:.3g} GB; choose smaller settings"
            )
            raise SchemaError(Problem(where, what))


def _memory() -> int:
    """Bytes of this machine or of its largest GPU, whichever is more; a terabyte where the system does not tell."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        found = 10**12
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return max([found, *(torch.cuda.get_device_properties(device).total_memory for device in devices)])


def _with_smallest_grids(schema: Schema) -> Schema:
    """Images of unknown shape get two axes of what codec and backbone need; codecs forget weights in files."""
    variables = {}
    for name, variable in schema.variables.items():
        spec, codec = variable.spec, variable.parts.codec
        if isinstance(spec, AbstractSpatialSpec) and spec.shape is None:
            spec = spec.model_copy(update={"shape": (schema.multiples()[name],) * 2})
        if "weights" in type(codec).model_fields:
            codec = codec.model_copy(update={"weights": None})
        variables[name] = variable._replace(spec=spec, parts=variable.parts._replace(codec=codec))
    return replace(schema, variables=variables)


def _codecs(schema: Schema, budget: _Budget) -> dict[str, AbstractCodec]:
    codecs: dict[str, AbstractCodec] = {}
    problems: list[Problem] = []
    for name, (spec, parts) in schema.variables.items():
        where = f"variables.{name}.codec"
        try:
            with budget.of(where), attribute_errors(parts.codec, where):
                codec = codecs[name] = parts.codec.build(spec.data_shape)
                usual = spec.parts().codec
                # The usual one of a plugin's type is the plugin's to answer for, which training tries on real rows.
                if parts.codec.type != usual.type and (what := _misfit(codec, spec.data_shape, usual.support)):
                    what = f"codec {parts.codec.type!r} {what}; use {usual.type!r}, which is usual for {spec.type!r}"
                    problems.append(Problem(where, what))
        except SchemaError as error:
            problems += error.problems
    if problems:
        raise SchemaError(problems)
    return codecs


def _misfit(codec: AbstractCodec, data_shape: tuple[int, ...], usual: str) -> str | None:
    """What is wrong between a codec without weights and its data: their shape, or labels where there are numbers."""
    data = f"data of the shape {list(data_shape)}" if data_shape else "a number a row"
    if not codec.code_shape:
        return f"gives a code without channels for {data}"
    if isinstance(codec, AbstractLearnedCodec):
        return None  # whose shapes come from convolutions, and cannot be others
    labels = codec.support == "one_hot"
    if labels and usual != codec.support:
        return f"takes labels, not {data}"
    example = torch.zeros(2, *data_shape, dtype=torch.int64 if labels else torch.float32)
    try:
        fits = codec.encode(example).mean.shape == (2, *codec.code_shape)
    except Exception:  # whatever it raises, it does not take such data
        fits = False
    return None if fits else f"does not take {data}"


def _adapters(schema: Schema, codecs: dict[str, AbstractCodec], budget: _Budget) -> None:
    """Backbone and adapters as the joint model has them, and the matrices over all their features."""
    shapes = {name: codec.code_shape for name, codec in codecs.items()}
    grids = {str(port_name(shape)): tuple(shape[1:]) for shape in shapes.values() if len(shape) > 1}
    with budget.of("backbone"), attribute_errors(schema.backbone, "backbone"):
        ports = schema.backbone.build(grids).ports
    features = 0
    for name, (_, parts) in schema.variables.items():
        where, shape = f"variables.{name}.adapter", shapes[name]
        with budget.of(where), attribute_errors(parts.adapter, where):
            channels = parts.kernel.prediction_channels(shape[0])
            context = AdapterContext(
                parts.kernel, shape, channels, port_name(shape), ports, variables=len(schema.variables)
            )
            adapter = parts.adapter.build(context._replace(common=parts.adapter.common(context)))
            features += adapter.features
    budget.check("variables", f"correlations of {features:,} features", 8 * features**2)


def _check_batches(schema: Schema, codecs: dict[str, AbstractCodec], budget: _Budget) -> None:
    cells = sum(math.prod(codec.code_shape) for codec in codecs.values())
    plan = schema.backbone.default_plan()
    rows = schema.training.batch_size or plan.batch_size
    budget.check("training.batch_size", f"batches of {rows:,} rows", 4 * _ACTIVATIONS * rows * cells)
    for name, codec in codecs.items():
        if isinstance(codec, AbstractLearnedCodec) and codec.training_plan is not None:
            size = codec.training_plan.batch_size
            values = math.prod(schema.variables[name].spec.data_shape)
            where = f"variables.{name}.codec.batch_size"
            budget.forget()
            budget.check(where, f"batches of {size:,} images", 4 * _ACTIVATIONS * size * values)
