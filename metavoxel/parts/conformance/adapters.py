"""Conformance checks of adapters."""

from collections.abc import Iterator
from copy import deepcopy
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.adapters.base import (
    AbstractAdapter,
    AbstractAdapterSpec,
    AdapterContext,
    AdapterInputs,
    BackboneOutputs,
    Streams,
)
from metavoxel.parts.adapters.stack import AdapterStack
from metavoxel.parts.conformance.checks import Check, bound
from metavoxel.parts.conformance.modules import (
    ROWS,
    assert_all_close,
    assert_gradient_everywhere,
    assert_some_differ,
    at_generic_weights,
    random_like,
)
from metavoxel.parts.conformance.statistics import assert_equal, assert_finite, assert_shape
from metavoxel.parts.indices import one_hot
from metavoxel.rng import Rng

Codes: TypeAlias = Float[Tensor, "_ _ *_"]


def adapter_checks(adapter: AbstractAdapter, context: AdapterContext) -> Iterator[Check]:
    """Yield all checks of an adapter; they change copies only.

    Args:
        adapter: built from the context (of :func:`with_common`, if its settings have a common module).
        context: shapes of the code and of the backbone's ports.
    """
    yield from (bound(type(adapter).__name__, check, adapter, context) for check in CHECKS)


def with_common(settings: AbstractAdapterSpec, context: AdapterContext) -> AdapterContext:
    """Return the context with the common module of these settings, as a model builds it.

    Its weights are made generic here, as the checks do so only for the adapter's own.
    """
    common = settings.common(context)
    return context if common is None else context._replace(common=at_generic_weights(common))


def _inputs(context: AdapterContext, *, cells: bool) -> AdapterInputs:
    """Return inputs with times and observed mask per row or per cell, and baseline outputs if there are features."""
    grid = context.code_shape[1:]
    expected = random_like("expected", context.expected)
    baseline = None if context.features is None else random_like("baseline", context.outputs, *grid)
    x = random_like("code", *context.code_shape)
    uniform = Rng.for_rows(ROWS, "times").uniform((ROWS, 1, *grid))
    if cells:
        observed = uniform < 0.4
        return AdapterInputs(x, torch.where(observed, 0.0, uniform).double(), observed, expected, baseline)
    time = torch.tensor([0.3, 0.0, 1.0], dtype=torch.float64)
    observed = (time == 0).reshape(-1, *[1] * (x.ndim - 1)).expand(ROWS, 1, *grid)
    return AdapterInputs(x, time, observed, expected, baseline)


def _outputs(adapter: AbstractAdapter, context: AdapterContext, name: str = "outputs") -> BackboneOutputs:
    ports = context.ports
    tokens = random_like(f"{name} tokens", adapter.tokens, ports.token_width) if adapter.tokens else None
    return BackboneOutputs(
        {port: random_like(f"{name} {port}", ports.grid_width, *shape) for port, shape in ports.grids.items()},
        {
            port: random_like(
                f"{name} bottleneck {port}", ports.bottleneck_width, *(max(1, side // 4) for side in shape)
            )
            for port, shape in ports.grids.items()
        },
        tokens,
    )


def _parts(streams: Streams | BackboneOutputs) -> list[Tensor]:
    tensors = [grid for _, grid in sorted(streams.grids.items())]
    others = [streams.tokens, *([streams.context] if isinstance(streams, Streams) else [])]
    return [*tensors, *(other for other in others if other is not None)]


def check_stream_shapes(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """``embed`` returns maps for existing ports and of their width, and as many tokens as declared."""
    ports = context.ports
    for cells in (False, True):
        streams = adapter.embed(_inputs(context, cells=cells))
        for port, grid in streams.grids.items():
            assert port in ports.grids, (
                f"embed returns a map for port {port!r}; the ports are: {', '.join(ports.grids) or 'none'}"
            )
            # A constant map may have sides of 1, as it is added to others
            spread = [
                full if side == 1 else side for side, full in zip(grid.shape[2:], ports.grids[port], strict=False)
            ]
            assert_shape(grid, (ROWS, ports.grid_width, *grid.shape[2:]), f"embed(...).grids[{port!r}]")
            assert tuple(spread) == ports.grids[port], (
                f"embed(...).grids[{port!r}]: grid {tuple(grid.shape[2:])}, expected {ports.grids[port]}, or sides of 1"
            )
        if adapter.tokens == 0:
            assert streams.tokens is None or streams.tokens.shape[1] == 0, "embed returns tokens, but 'tokens' is 0"
        else:
            assert streams.tokens is not None, f"embed returns no tokens, but 'tokens' is {adapter.tokens}"
            assert_shape(streams.tokens, (ROWS, adapter.tokens, ports.token_width), "embed(...).tokens")
        assert _parts(streams), "embed returns empty streams: the backbone has no input from this variable"
        for tensor in _parts(streams):
            assert_finite(tensor, "embed")


def check_prediction_shape(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """``head`` returns ``context.outputs`` channels on the code's grid."""
    prediction = adapter.head(_outputs(adapter, context))
    assert_shape(prediction, (ROWS, context.outputs, *context.code_shape[1:]), "head")
    assert_finite(prediction, "head")


def check_gradient_everywhere(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """Every weight has a gradient, from ``embed`` or ``head``."""
    generic = at_generic_weights(adapter)
    outputs = [generic.head(_outputs(generic, context))]
    for cells in (False, True):
        outputs += _parts(generic.embed(_inputs(context, cells=cells)))
    assert_gradient_everywhere(generic, outputs)


def _assert_embed_sees(adapter: AbstractAdapter, context: AdapterContext, what: str) -> None:
    generic = at_generic_weights(adapter)
    nothing = torch.zeros(ROWS, 1, *context.code_shape[1:], dtype=torch.bool)
    inputs = _inputs(context, cells=False)
    inputs = inputs._replace(time=torch.full_like(inputs.time, 0.5), observed=nothing)
    changed = {
        "code": inputs._replace(x=-inputs.x),
        "time": inputs._replace(time=inputs.time / 2),
        "observed cells": inputs._replace(observed=~nothing),
    }
    before, after = (_parts(generic.embed(each)) for each in (inputs, changed[what]))
    assert_some_differ(before, after, f"the result of embed does not depend on the {what}")


def check_embed_sees_code(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """The result of ``embed`` depends on the code."""
    _assert_embed_sees(adapter, context, "code")


def check_embed_sees_time(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """The result of ``embed`` depends on the variable's own time; the network's time embedding sums over variables."""
    _assert_embed_sees(adapter, context, "time")


def check_embed_sees_observed(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """The result of ``embed`` depends on the mask of cells given clean."""
    _assert_embed_sees(adapter, context, "observed cells")


def check_head_sees(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """The result of ``head`` depends on the backbone's outputs."""
    generic = at_generic_weights(adapter)
    before, after = (generic.head(_outputs(generic, context, name)) for name in ("some", "other"))
    assert_some_differ([before], [after], "the result of head does not depend on the backbone's outputs")


def check_rows_independent(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """A row's streams and output do not depend on the other rows."""
    generic = at_generic_weights(adapter)
    for cells in (False, True):
        inputs = _inputs(context, cells=cells)
        together = _parts(generic.embed(inputs))
        for row in range(ROWS):
            one = slice(row, row + 1)
            alone = _parts(generic.embed(AdapterInputs(*(x[one] for x in inputs if x is not None))))
            assert_all_close(alone, [tensor[one] for tensor in together], f"embed: row {row} alone")
    outputs = _outputs(generic, context)
    together = [generic.head(outputs)]
    for row in range(ROWS):
        one = slice(row, row + 1)
        part = BackboneOutputs(
            {port: grid[one] for port, grid in outputs.grids.items()},
            {port: grid[one] for port, grid in outputs.bottlenecks.items()},
            None if outputs.tokens is None else outputs.tokens[one],
        )
        assert_all_close([generic.head(part)], [together[0][one]], f"head: row {row} alone")


def check_row_times_are_cell_times(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """One time per row is equivalent to that time in every cell."""
    generic = at_generic_weights(adapter)
    inputs = _inputs(context, cells=False)
    spread = inputs.time.reshape(-1, *[1] * (inputs.x.ndim - 1)).expand_as(inputs.observed).contiguous()
    by_row, by_cell = (_parts(generic.embed(inputs._replace(time=time))) for time in (inputs.time, spread))
    assert_all_close(by_cell, by_row, "embed with times of cells and of rows")


def check_without_grids(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """``embed_without_grids`` returns the streams of ``embed`` without maps; ``head`` needs grids only if declared."""
    generic = at_generic_weights(adapter)
    for cells in (False, True):
        inputs = _inputs(context, cells=cells)
        full, rest = generic.embed(inputs), generic.embed_without_grids(inputs)
        assert not rest.grids, f"embed_without_grids returns maps for {', '.join(rest.grids)}"
        full_parts, parts = _parts(full._replace(grids={})), _parts(rest)
        assert len(parts) == len(full_parts), "embed_without_grids returns other streams than embed"
        assert_all_close(parts, full_parts, "embed_without_grids and embed")
    if not adapter.needs_grids:
        prediction = generic.head(_outputs(generic, context)._replace(grids={}, bottlenecks={}))
        assert_shape(prediction, (ROWS, context.outputs, *context.code_shape[1:]), "head without grids")


def check_inputs_unchanged(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """No method writes to its inputs."""
    given = AdapterInputs(*(tensor.clone() for tensor in _inputs(context, cells=True) if tensor is not None))
    outputs = _outputs(adapter, context)
    adapter.embed(given)
    adapter.head(outputs)
    for name, before in _inputs(context, cells=True)._asdict().items():
        if before is not None:
            assert_equal(getattr(given, name), before, f"{name} after embed")
    assert_all_close(_parts(outputs), _parts(_outputs(adapter, context)), "outputs after head")


def check_stacked(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """Two adapters of different weights, evaluated together, return the outputs of each alone, if stackable."""
    if not adapter.stackable:
        return
    both = [deepcopy(adapter).eval(), at_generic_weights(adapter)]
    stack = AdapterStack(both)
    inputs, outputs = _inputs(context, cells=False), _outputs(adapter, context)
    streams = [each.embed(inputs) for each in both]
    assert not any(entry.grids or entry.context is not None for entry in streams), (
        "a stackable adapter must have tokens alone"
    )
    outputs = outputs._replace(grids={}, bottlenecks={})
    embedded = stack.embed([inputs, inputs])
    predicted = stack.head([outputs, outputs])
    for place, each in enumerate(both):
        stacked, alone = [*_parts(embedded[place]), predicted[place]], [*_parts(streams[place]), each.head(outputs)]
        assert_all_close(stacked, alone, "two adapters evaluated together and each alone")


def check_indices(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """``embed`` of class indices, and its gradients, are those of their one-hot codes; -1 is a code of zeros.

    Adapters that take no indices pass.
    """
    if not adapter.takes_indices:
        return
    classes, *grid = context.code_shape
    index = (Rng.for_rows(ROWS, "indices").uniform((ROWS, 1, *grid)) * (classes + 1)).long() - 1
    found = []
    for x in (index, one_hot(index[:, 0], classes)):
        generic = at_generic_weights(adapter)
        parts = _parts(generic.embed(_inputs(context, cells=True)._replace(x=x)))
        torch.stack([part.square().sum() for part in parts]).sum().backward()
        found.append([*parts, *(weight.grad for weight in generic.parameters() if weight.grad is not None)])
    assert_all_close(found[0], found[1], "embed of indices and of one-hot codes, and its gradients")


CHECKS = (
    check_stream_shapes,
    check_prediction_shape,
    check_gradient_everywhere,
    check_embed_sees_code,
    check_embed_sees_time,
    check_embed_sees_observed,
    check_head_sees,
    check_rows_independent,
    check_row_times_are_cell_times,
    check_without_grids,
    check_inputs_unchanged,
    check_stacked,
    check_indices,
)
"""Checks of any adapter."""
