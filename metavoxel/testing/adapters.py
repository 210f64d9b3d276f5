"""Checks of adapters."""

from collections.abc import Iterator
from copy import deepcopy
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.network.adapter_bank import AdapterStack
from metavoxel.parts.adapters.base import AbstractAdapter, AbstractAdapterSpec, AdapterContext, Features, Streams
from metavoxel.rng import Rng
from metavoxel.testing.checks import Check, bound
from metavoxel.testing.modules import (
    ROWS,
    assert_all_close,
    assert_gradient_everywhere,
    assert_some_differ,
    at_generic_weights,
    random_like,
)
from metavoxel.testing.statistics import assert_equal, assert_finite, assert_shape

Codes: TypeAlias = Float[Tensor, "_ _ *_"]


def adapter_checks(adapter: AbstractAdapter, context: AdapterContext) -> Iterator[Check]:
    """All checks of an adapter, which stays as it is: they work on copies.

    Args:
        adapter: built from the context (:func:`with_common`, where its settings have anything in common).
        context: shapes of the code and of the backbone's ports.
    """
    yield from (bound(type(adapter).__name__, check, adapter, context) for check in CHECKS)


def with_common(settings: AbstractAdapterSpec, context: AdapterContext) -> AdapterContext:
    """The context with what is common to adapters of these settings, as a model would give it.

    Its weights are moved a little here: the checks move those of the adapter, which these are not.
    """
    common = settings.common(context)
    return context if common is None else context._replace(common=at_generic_weights(common))


def _inputs(adapter: AbstractAdapter, context: AdapterContext, *, cells: bool) -> tuple[Codes, Tensor, Tensor, Tensor]:
    """A code, times and observed cells, of whole rows or cell by cell, and expected features."""
    grid = context.code_shape[1:]
    belief = random_like("belief", adapter.features)
    x = random_like("code", *context.code_shape)
    uniform = Rng.for_rows(ROWS, "times").uniform((ROWS, 1, *grid))
    if cells:
        observed = uniform < 0.4
        return x, torch.where(observed, 0.0, uniform).double(), observed, belief
    time = torch.tensor([0.3, 0.0, 1.0], dtype=torch.float64)
    return x, time, (time == 0).reshape(-1, *[1] * (x.ndim - 1)).expand(ROWS, 1, *grid), belief


def _features(adapter: AbstractAdapter, context: AdapterContext, name: str = "features") -> Features:
    ports = context.ports
    tokens = random_like(f"{name} tokens", adapter.tokens, ports.token_width) if adapter.tokens else None
    return Features(
        {port: random_like(f"{name} {port}", ports.grid_width, *shape) for port, shape in ports.grids.items()},
        {
            port: random_like(
                f"{name} bottleneck {port}", ports.bottleneck_width, *(max(1, side // 4) for side in shape)
            )
            for port, shape in ports.grids.items()
        },
        tokens,
    )


def _parts(streams: Streams | Features) -> list[Tensor]:
    tensors = [grid for _, grid in sorted(streams.grids.items())]
    others = [streams.tokens, streams.skip, *([streams.context] if isinstance(streams, Streams) else [])]
    return [*tensors, *(other for other in others if other is not None)]


def check_stream_shapes(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """``embed`` gives maps for ports that exist, as wide as they are, and as many tokens as stated."""
    ports = context.ports
    for cells in (False, True):
        streams = adapter.embed(*_inputs(adapter, context, cells=cells))
        for port, grid in streams.grids.items():
            assert port in ports.grids, (
                f"embed gives a map for port {port!r}; there is {', '.join(ports.grids) or 'none'}"
            )
            # A map that is the same everywhere may have sides of 1: it joins the others by a sum.
            spread = [
                full if side == 1 else side for side, full in zip(grid.shape[2:], ports.grids[port], strict=False)
            ]
            assert_shape(grid, (ROWS, ports.grid_width, *grid.shape[2:]), f"embed(...).grids[{port!r}]")
            assert tuple(spread) == ports.grids[port], (
                f"embed(...).grids[{port!r}]: grid {tuple(grid.shape[2:])}, expected {ports.grids[port]}, or sides of 1"
            )
        if adapter.tokens == 0:
            assert streams.tokens is None or streams.tokens.shape[1] == 0, "embed gives tokens, but 'tokens' is 0"
        else:
            assert streams.tokens is not None, f"embed gives no tokens, but 'tokens' is {adapter.tokens}"
            assert_shape(streams.tokens, (ROWS, adapter.tokens, ports.token_width), "embed(...).tokens")
        assert _parts(streams), "embed gives nothing: the backbone never sees this variable"
        for tensor in _parts(streams):
            assert_finite(tensor, "embed")


def check_prediction_shape(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """``head`` gives the kernel's channels on the code's grid."""
    prediction = adapter.head(_features(adapter, context))
    assert_shape(prediction, (ROWS, context.prediction_channels, *context.code_shape[1:]), "head")
    assert_finite(prediction, "head")


def check_gradient_everywhere(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """Every weight learns, from ``embed``, ``begun`` or ``head``."""
    generic = at_generic_weights(adapter)
    outputs = [generic.head(_features(generic, context))]
    for cells in (False, True):
        streams = generic.embed(*_inputs(adapter, context, cells=cells))
        if generic.explained(torch.zeros(ROWS, adapter.features)) is not None:
            streams = generic.begun(streams, torch.ones(ROWS, context.prediction_channels, *context.code_shape[1:]))
        outputs += _parts(streams)
    assert_gradient_everywhere(generic, outputs)


def _assert_embed_sees(adapter: AbstractAdapter, context: AdapterContext, what: str) -> None:
    generic = at_generic_weights(adapter)
    x, time, _, belief = _inputs(adapter, context, cells=False)
    nothing = torch.zeros(ROWS, 1, *context.code_shape[1:], dtype=torch.bool)
    time = torch.full_like(time, 0.5)
    changed = {"code": (-x, time, nothing), "time": (x, time / 2, nothing), "observed cells": (x, time, ~nothing)}
    before, after = (_parts(generic.embed(*inputs, belief)) for inputs in ((x, time, nothing), changed[what]))
    assert_some_differ(before, after, f"what embed gives does not change with the {what}")


def check_embed_sees_code(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """What ``embed`` gives changes with the code."""
    _assert_embed_sees(adapter, context, "code")


def check_embed_sees_time(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """What ``embed`` gives changes with the variable's own time: the backbone's level is a sum over variables."""
    _assert_embed_sees(adapter, context, "time")


def check_embed_sees_observed(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """What ``embed`` gives changes with which cells are given clean."""
    _assert_embed_sees(adapter, context, "observed cells")


def check_head_sees(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """The prediction changes with the features."""
    generic = at_generic_weights(adapter)
    before, after = (generic.head(_features(generic, context, name)) for name in ("some", "other"))
    assert_some_differ([before], [after], "the prediction does not change with the features")


def check_rows_independent(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """What a row gives does not depend on its company."""
    generic = at_generic_weights(adapter)
    for cells in (False, True):
        inputs = _inputs(adapter, context, cells=cells)
        together = _parts(generic.embed(*inputs))
        for row in range(ROWS):
            one = slice(row, row + 1)
            alone = _parts(generic.embed(*(tensor[one] for tensor in inputs)))
            assert_all_close(alone, [tensor[one] for tensor in together], f"embed: row {row} alone")
    features = _features(generic, context)
    together = [generic.head(features)]
    for row in range(ROWS):
        one = slice(row, row + 1)
        part = Features(
            {port: grid[one] for port, grid in features.grids.items()},
            {port: grid[one] for port, grid in features.bottlenecks.items()},
            None if features.tokens is None else features.tokens[one],
        )
        assert_all_close([generic.head(part)], [together[0][one]], f"head: row {row} alone")


def check_row_times_are_cell_times(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """One time a row means that time in every cell."""
    generic = at_generic_weights(adapter)
    x, time, observed, belief = _inputs(adapter, context, cells=False)
    spread = time.reshape(-1, *[1] * (x.ndim - 1)).expand(ROWS, 1, *x.shape[2:]).contiguous()
    by_row, by_cell = (_parts(generic.embed(x, t, observed, belief)) for t in (time, spread))
    assert_all_close(by_cell, by_row, "embed with times of cells and of rows")


def check_without_grids(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """``embed_without_grids`` gives what ``embed`` does beside maps, and ``head`` uses it unless it needs grids."""
    generic = at_generic_weights(adapter)
    for cells in (False, True):
        inputs = _inputs(adapter, context, cells=cells)
        whole, rest = generic.embed(*inputs), generic.embed_without_grids(*inputs)
        assert not rest.grids, f"embed_without_grids gives maps for {', '.join(rest.grids)}"
        whole_parts, parts = _parts(whole._replace(grids={})), _parts(rest)
        assert len(parts) == len(whole_parts), "embed_without_grids gives other streams than embed"
        assert_all_close(parts, whole_parts, "embed_without_grids beside embed")
    if not adapter.needs_grids:
        prediction = generic.head(_features(generic, context)._replace(grids={}, bottlenecks={}))
        assert_shape(prediction, (ROWS, context.prediction_channels, *context.code_shape[1:]), "head without grids")


def check_measure(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """What a noisy code says of the features is a normal law for every row, and nothing where there is no signal."""
    generic = at_generic_weights(adapter)
    x, _, observed, _ = _inputs(adapter, context, cells=True)
    for time in (0.0, 0.5, 1.0):
        at = torch.full((ROWS,), time, dtype=torch.float64)
        said = generic.measure(x, at, observed | (time == 0) if time < 1 else observed & False)
        assert_shape(said.precision, (ROWS, adapter.features, adapter.features), "measure(...).precision")
        assert_shape(said.weighted, (ROWS, adapter.features), "measure(...).weighted")
        assert_finite(said.precision, "measure(...).precision")
        assert_finite(said.weighted, "measure(...).weighted")
        assert_all_close([said.precision], [said.precision.mT], "measure(...).precision and its transpose")
        if adapter.features:
            least = float(torch.linalg.eigvalsh(said.precision).min())
            assert least > -1e-3 * (1 + float(said.precision.abs().max())), "measure(...).precision is not a precision"
    features = generic.describe(x)
    assert_shape(features, (ROWS, adapter.features), "describe")
    explained = generic.explained(features)
    if explained is not None:
        assert_shape(explained, tuple(x.shape), "explained")
        assert_finite(explained, "explained")
        skip = torch.zeros(ROWS, context.prediction_channels, *context.code_shape[1:])
        entered = generic.embed(*_inputs(adapter, context, cells=False))
        begun = generic.begun(entered, skip)
        assert begun.skip is skip, "begun(streams, skip) does not keep the skip"
        assert set(begun.grids) == set(entered.grids), "begun(streams, skip) gives other maps than embed"


def check_inputs_unchanged(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """Nothing that an adapter is given is written to."""
    given = tuple(tensor.clone() for tensor in _inputs(adapter, context, cells=True))
    features = _features(adapter, context)
    adapter.embed(*given)
    adapter.head(features)
    names, fresh = ("x", "time", "observed", "belief"), _inputs(adapter, context, cells=True)
    for name, tensor, before in zip(names, given, fresh, strict=True):
        assert_equal(tensor, before, f"{name} after embed")
    assert_all_close(_parts(features), _parts(_features(adapter, context)), "features after head")


def check_fit_in_state(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """What ``fit`` takes from the codes is finite, and is in ``state_dict``."""
    source, other = deepcopy(adapter).eval(), deepcopy(adapter).eval()
    codes = random_like("fit", *context.code_shape)
    source.fit(lambda: [codes])
    other.load_state_dict(source.state_dict())
    inputs, features = _inputs(adapter, context, cells=False), _features(adapter, context)
    first, second = ([*_parts(each.embed(*inputs)), each.head(features)] for each in (source, other))
    for tensor in first:
        assert_finite(tensor, "an output after fit")
    assert_all_close(second, first, "outputs after loading the state")


def check_network_weight(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """With a network weight of 0, a prediction with a skip is the same whatever the network gives."""
    generic = at_generic_weights(adapter)
    skip = generic.embed(*_inputs(adapter, context, cells=False)).skip
    if generic.explained(torch.zeros(ROWS, adapter.features)) is not None:
        skip = torch.ones(ROWS, context.prediction_channels, *context.code_shape[1:])
    if skip is None:
        return
    features = _features(generic, context)._replace(skip=skip)
    generic.network_weight.zero_()
    tokens = None if features.tokens is None else features.tokens + 1
    other = features._replace(tokens=tokens, grids={port: grid + 1 for port, grid in features.grids.items()})
    assert_all_close([generic.head(other)], [generic.head(features)], "head of other features, at network weight 0")


def check_stacked(adapter: AbstractAdapter, context: AdapterContext) -> None:
    """Two that are computed as one, with other weights each, say what each says by itself, if they may be."""
    if not adapter.stackable:
        return
    both = [deepcopy(adapter).eval(), at_generic_weights(adapter)]
    stack = AdapterStack(both)
    inputs, features = _inputs(adapter, context, cells=False), _features(adapter, context)
    streams = [each.embed(*inputs) for each in both]
    assert not any(entry.grids or entry.context is not None for entry in streams), (
        "a stackable adapter has tokens alone"
    )
    features = features._replace(grids={}, bottlenecks={}, skip=None)
    seen = [features._replace(skip=entry.skip) for entry in streams]
    twice = [[entry, entry] for entry in inputs]
    entered, said, predicted = stack.embed(*twice), stack.measure(*twice[:3]), stack.head(seen)
    for place, each in enumerate(both):
        ours = [*_parts(entered[place]), *said[place], predicted[place]]
        alone = [*_parts(streams[place]), *each.measure(*inputs[:3]), each.head(seen[place])]
        assert_all_close(ours, alone, "two adapters computed as one, beside each alone")


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
    check_measure,
    check_inputs_unchanged,
    check_fit_in_state,
    check_network_weight,
    check_stacked,
)
"""Checks of any adapter."""
