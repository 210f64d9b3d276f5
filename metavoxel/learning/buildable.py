"""Check that codecs, adapters and backbone of a schema can be built, before any image is read.

All modules are built on torch's ``meta`` device, where tensors have shapes but no storage.
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
from metavoxel.learning.device_memory import COPIES
from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, AbstractLearnedCodec
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.plugins.registry import attribute_errors
from metavoxel.runs.run import without_initial_weights
from metavoxel.schema import Schema

MOST_TENSORS = 30_000
"""Maximum number of weights and buffers of a model, several times that of a network of a thousand variables."""

_ACTIVATIONS = 8
"""Lower bound of the memory of a training step, in copies of the batch's codes or images."""


def check_buildable(schema: Schema, memory: int | None = None) -> None:
    """Build the codecs and the joint network of a schema on the meta device, and estimate their memory.

    Images of unknown grid get the smallest grid possible. Plugin parts that cannot be built on the meta device are
    not checked.

    Args:
        schema: as it was read, or with the settings resolved from the cohort.
        memory: memory available to training, in bytes; by default all of this machine or of its largest GPU.

    Raises:
        SchemaError: a codec does not accept its variable's data, settings cannot be built, or memory is exceeded.
    """
    budget = _Budget(_memory() if memory is None else memory)
    schema = _with_smallest_grids(without_initial_weights(schema))
    try:
        with torch.device("meta"), torch.no_grad(), budget.counted():
            codecs = _codecs(schema, budget)
            _adapters(schema, codecs, budget)
    except PluginError:
        return
    _check_batches(schema, codecs, budget)


class _Budget:
    """Count of registered weights in bytes and tensors, with its limits. Final."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._where, self._bytes, self._tensors = "", 0, 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the weights and buffers of modules built inside the context; exceeding a limit raises there."""
        handles = (
            register_module_parameter_registration_hook(lambda module, name, weight: self._add(weight, COPIES)),
            register_module_buffer_registration_hook(lambda module, name, buffer: self._add(buffer, 1)),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def of(self, where: str) -> Iterator[None]:
        """Attach a location to errors raised inside the context.

        Raises:
            SchemaError: in place of any exception that is not a MetavoxelError.
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
        """Reset the counts."""
        self._bytes, self._tensors = 0, 0

    def _add(self, tensor: Tensor | None, copies: int) -> None:
        if tensor is None or isinstance(tensor, nn.UninitializedParameter):
            return
        self._tensors += 1
        self.check(self._where, "weights, gradients and optimiser state", tensor.nbytes * copies)
        if self._tensors > MOST_TENSORS:
            what = f"more than {MOST_TENSORS:,} weight tensors; choose fewer layers or variables"
            raise SchemaError(Problem(self._where, what))

    def check(self, where: str, what: str, size: int) -> None:
        """Add ``size`` bytes to the count.

        Raises:
            SchemaError: the total exceeds the memory.
        """
        self._bytes += size
        if self._bytes > self.memory:
            message = (
                f"{what} take more than {self._bytes / 1e9:.3g} GB, and this machine has "
                f"{self.memory / 1e9:.3g} GB; choose smaller settings"
            )
            raise SchemaError(Problem(where, message))


def _memory() -> int:
    """Return the memory of this machine or of its largest GPU, whichever is more, in bytes; 1 TB if unavailable."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        found = 10**12
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return max([found, *(torch.cuda.get_device_properties(device).total_memory for device in devices)])


def _with_smallest_grids(schema: Schema) -> Schema:
    """Give images of unknown shape two axes of the smallest valid size."""
    variables = {}
    for name, variable in schema.variables.items():
        codec = variable.parts.codec
        spec = _with_smallest_grid(variable.spec, codec, schema.multiples()[name])
        variables[name] = variable._replace(spec=spec)
    return replace(schema, variables=variables)


def _with_smallest_grid(spec: AbstractVariableSpec, codec: AbstractCodecSpec, multiple: int) -> AbstractVariableSpec:
    """Give an image of unknown grid the fewest axes that suit its codec, of the smallest valid size; two if none do."""
    flat, deep = (spec.with_smallest_grid(multiple, axes=axes) for axes in (2, 3))
    return deep if codec.misfit(flat.data_shape) and not codec.misfit(deep.data_shape) else flat


def _codecs(schema: Schema, budget: _Budget) -> dict[str, AbstractCodec]:
    codecs: dict[str, AbstractCodec] = {}
    problems: list[Problem] = []
    for name, (spec, parts) in schema.variables.items():
        where = f"variables.{name}.codec"
        try:
            with budget.of(where), attribute_errors(parts.codec, where):
                if what := parts.codec.misfit(spec.data_shape):
                    raise SchemaError(Problem(where, what))
                codec = codecs[name] = parts.codec.build(spec.data_shape)
                default = spec.parts().codec
                # The default codec of a plugin's variable type is checked in training, on real rows.
                if parts.codec.type != default.type and (what := _misfit(codec, spec.data_shape, default.support)):
                    what = f"codec {parts.codec.type!r} {what}; use {default.type!r}, the default for {spec.type!r}"
                    problems.append(Problem(where, what))
        except SchemaError as error:
            problems += error.problems
    if problems:
        raise SchemaError(problems)
    return codecs


def _misfit(codec: AbstractCodec, data_shape: tuple[int, ...], default_support: str) -> str | None:
    """Describe why a codec does not accept its variable's data, by shape or support; None if it does."""
    data = f"data of shape {list(data_shape)}" if data_shape else "one number per row"
    if not codec.code_shape:
        return f"gives a code without channels for {data}"
    if isinstance(codec, AbstractLearnedCodec):
        return None  # convolutions determine its shapes
    labels = codec.is_categorical
    if labels and default_support != codec.support:
        return f"accepts labels, not {data}"
    example = torch.zeros(2, *data_shape, dtype=torch.int64 if labels else torch.float32)
    try:
        fits = codec.encode(example).mean.shape == (2, *codec.held_shape)
    except Exception:  # any error means that the codec rejects such data
        fits = False
    return None if fits else f"does not accept {data}"


def _adapters(schema: Schema, codecs: dict[str, AbstractCodec], budget: _Budget) -> None:
    """Build backbone and adapters as the joint model does, and count the covariance of all their features."""
    shapes = {name: codec.code_shape for name, codec in codecs.items()}
    ports = {schema.variables[name].parts.adapter.port(shape): shape for name, shape in shapes.items()}
    grids = {port: tuple(shape[1:]) for port, shape in ports.items() if port is not None}
    with budget.of("backbone"), attribute_errors(schema.backbone, "backbone"):
        widths = schema.backbone.build(grids).ports
    features = 0
    for name, (_, parts) in schema.variables.items():
        where, shape = f"variables.{name}.adapter", shapes[name]
        with budget.of(where), attribute_errors(parts.adapter, where):
            context = parts.adapter.context(parts.kernel, shape, widths, variables=len(schema.variables))
            parts.adapter.build(context._replace(common=parts.adapter.common(context)))
            features += context.expected
    budget.check("variables", f"correlations of {features:,} features", 8 * features**2)


def _check_batches(schema: Schema, codecs: dict[str, AbstractCodec], budget: _Budget) -> None:
    cells = sum(math.prod(codec.code_shape) for codec in codecs.values())
    plan = schema.backbone.default_plan()
    rows = schema.training.batch_size or plan.batch_size
    budget.check("training.batch_size", f"batches of {rows:,} rows", 4 * _ACTIVATIONS * rows * cells)
    for name, codec in codecs.items():
        if what := codec.memory_problem(budget.memory):
            raise SchemaError(Problem(f"variables.{name}.codec", what))
        if isinstance(codec, AbstractLearnedCodec) and codec.training_plan is not None:
            size = codec.training_plan.batch_size
            values = math.prod(schema.variables[name].spec.data_shape)
            where = f"variables.{name}.codec.batch_size"
            budget.forget()
            budget.check(where, f"batches of {size:,} images", 4 * _ACTIVATIONS * size * values)
