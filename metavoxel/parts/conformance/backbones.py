"""Conformance checks of backbones."""

from collections.abc import Iterator

import torch
from torch import Tensor

from metavoxel.parts.adapters.base import BackboneOutputs, Streams
from metavoxel.parts.backbones.base import AbstractBackbone
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


def backbone_checks(backbone: AbstractBackbone, *, tokens: int = 3, respects_factors: bool = False) -> Iterator[Check]:
    """Yield all checks of a backbone; it is not modified, as the checks use copies.

    Args:
        backbone: built for the code grids to check it with.
        tokens: number of input tokens; with 0, weights that only act on tokens have no gradient.
        respects_factors: as in its settings; adds ``check_links_respected``.
    """
    checks = (*CHECKS, check_links_respected) if respects_factors else CHECKS
    yield from (bound(type(backbone).__name__, check, backbone, tokens) for check in checks)


def _streams(backbone: AbstractBackbone, tokens: int) -> Streams:
    ports = backbone.ports
    return Streams(
        {port: random_like(port, ports.grid_width, *shape) for port, shape in ports.grids.items()},
        random_like("tokens", tokens, ports.token_width) if tokens else None,
    )


def _with_other_token(streams: Streams, index: int) -> Streams:
    """Return the streams with one token changed."""
    assert streams.tokens is not None, "the streams have no tokens"
    tokens = streams.tokens.clone()
    tokens[:, index] = tokens[:, index].flip(1)
    return streams._replace(tokens=tokens)


def _time_embedding(backbone: AbstractBackbone, name: str = "level") -> Tensor:
    return random_like(name, backbone.ports.time_width)


def _parts(features: BackboneOutputs) -> dict[str, Tensor]:
    parts = {f"grids[{port!r}]": grid for port, grid in features.grids.items()}
    parts |= {f"bottlenecks[{port!r}]": grid for port, grid in features.bottlenecks.items()}
    return parts if features.tokens is None else parts | {"tokens": features.tokens}


def check_feature_shapes(backbone: AbstractBackbone, tokens: int) -> None:
    """Check that outputs have the ports, shapes and widths of the inputs, and as many tokens."""
    ports, features = backbone.ports, backbone(_streams(backbone, tokens), _time_embedding(backbone))
    assert set(features.grids) == set(ports.grids), (
        f"input ports are {sorted(ports.grids)}, output ports {sorted(features.grids)}"
    )
    for port, shape in ports.grids.items():
        assert_shape(features.grids[port], (ROWS, ports.grid_width, *shape), f"grids[{port!r}]")
    for port, grid in features.bottlenecks.items():
        assert port in ports.grids, (
            f"bottleneck of unknown port {port!r}; the ports are {', '.join(ports.grids) or 'none'}"
        )
        assert tuple(grid.shape[:2]) == (ROWS, ports.bottleneck_width), (
            f"bottlenecks[{port!r}]: shape {tuple(grid.shape)}, expected ({ROWS}, {ports.bottleneck_width}, ...)"
        )
    if tokens:
        assert features.tokens is not None, f"{tokens} input tokens, but no output tokens"
        assert_shape(features.tokens, (ROWS, tokens, ports.token_width), "tokens")
    for name, tensor in _parts(features).items():
        assert_finite(tensor, name)


def check_gradient_everywhere(backbone: AbstractBackbone, tokens: int) -> None:
    """Check that every weight has a finite, non-zero gradient."""
    generic = at_generic_weights(backbone)
    assert_gradient_everywhere(generic, _parts(generic(_streams(backbone, tokens), _time_embedding(backbone))).values())


def check_outputs_depend_on_inputs(backbone: AbstractBackbone, tokens: int) -> None:
    """Check that every output depends on every input, as required to model all variables jointly.

    Bottlenecks are treated as one output, as each may be computed before the ports are fused.
    """
    generic = at_generic_weights(backbone)
    streams, time_embedding = _streams(backbone, tokens), _time_embedding(backbone)
    changed = {"the time embedding": (streams, _time_embedding(backbone, "other level"))}
    for port, grid in streams.grids.items():
        changed[f"grid {port!r}"] = (streams._replace(grids={**streams.grids, port: grid.flip(1)}), time_embedding)
    changed |= {f"token {index}": (_with_other_token(streams, index), time_embedding) for index in range(tokens)}
    before = _outputs(generic(streams, time_embedding))
    for what, inputs in changed.items():
        for name, after in _outputs(generic(*inputs)).items():
            assert_some_differ(before[name], after, f"{name} does not depend on {what}")


def _outputs(features: BackboneOutputs) -> dict[str, list[Tensor]]:
    """Return the outputs by name: each grid, all bottlenecks together, each token."""
    outputs = {f"grid {port!r}": [grid] for port, grid in features.grids.items()}
    if features.bottlenecks:
        outputs["the bottleneck"] = list(features.bottlenecks.values())
    if features.tokens is not None:
        outputs |= {f"token {index}": [token] for index, token in enumerate(features.tokens.unbind(1))}
    return outputs


def check_rows_independent(backbone: AbstractBackbone, tokens: int) -> None:
    """Check that outputs are independent of the other rows of a batch."""
    generic = at_generic_weights(backbone)
    streams, time_embedding = _streams(backbone, tokens), _time_embedding(backbone)
    together = _parts(generic(streams, time_embedding))
    for row in range(ROWS):
        one = slice(row, row + 1)
        part = Streams(
            {port: grid[one] for port, grid in streams.grids.items()},
            None if streams.tokens is None else streams.tokens[one],
        )
        alone = _parts(generic(part, time_embedding[one]))
        for name, tensor in together.items():
            assert_all_close([alone[name]], [tensor[one]], f"{name}: row {row} alone")


def check_links_respected(backbone: AbstractBackbone, tokens: int) -> None:
    """Check that tokens depend only on tokens reachable along ``links``, and on all tokens without links."""
    generic = at_generic_weights(backbone)
    streams, time_embedding = _streams(backbone, tokens), _time_embedding(backbone)
    fully_linked = torch.ones(tokens, tokens, dtype=torch.bool)
    assert_all_close(
        [_parts(generic(streams._replace(links=fully_linked), time_embedding))["tokens"]],
        [_parts(generic(streams, time_embedding))["tokens"]],
        "fully linked tokens",
    )
    causal = streams._replace(links=fully_linked.tril())
    before = _parts(generic(causal, time_embedding))["tokens"]
    for index in range(1, tokens):
        after = _parts(generic(_with_other_token(causal, index), time_embedding))["tokens"]
        assert_equal(after[:, :index].detach(), before[:, :index].detach(), f"tokens without a link to token {index}")


def check_inputs_unchanged(backbone: AbstractBackbone, tokens: int) -> None:
    """Check that no input is modified in place."""
    streams, time_embedding = _streams(backbone, tokens), _time_embedding(backbone)
    backbone(streams, time_embedding)
    expected = _streams(backbone, tokens)
    for port, grid in streams.grids.items():
        assert_equal(grid, expected.grids[port], f"the stream of grid {port!r} after use")
    if streams.tokens is not None and expected.tokens is not None:
        assert_equal(streams.tokens, expected.tokens, "the stream of tokens after use")
    assert_equal(time_embedding, _time_embedding(backbone), "the time embedding after use")


CHECKS = (
    check_feature_shapes,
    check_gradient_everywhere,
    check_outputs_depend_on_inputs,
    check_rows_independent,
    check_inputs_unchanged,
)
"""Checks of all backbones."""
