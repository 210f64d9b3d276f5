"""Checks of backbones."""

from collections.abc import Iterator

import torch
from torch import Tensor

from metavoxel.parts.adapters.base import Features, Streams
from metavoxel.parts.backbones.base import AbstractBackbone
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


def backbone_checks(backbone: AbstractBackbone, *, tokens: int = 3, keeps_factors: bool = False) -> Iterator[Check]:
    """All checks of a backbone, which stays as it is: they work on copies.

    Args:
        backbone: built for the code grids that it is to be checked with.
        tokens: how many tokens enter it; 0 to check it without any (weights that serve only them then do not learn).
        keeps_factors: as its settings say.
    """
    checks = (*CHECKS, check_links_kept) if keeps_factors else CHECKS
    yield from (bound(type(backbone).__name__, check, backbone, tokens) for check in checks)


def _streams(backbone: AbstractBackbone, tokens: int) -> Streams:
    ports = backbone.ports
    return Streams(
        {port: random_like(port, ports.grid_width, *shape) for port, shape in ports.grids.items()},
        random_like("tokens", tokens, ports.token_width) if tokens else None,
    )


def _with_other_token(streams: Streams, index: int) -> Streams:
    """The same, but for one token."""
    assert streams.tokens is not None, "no token goes in"
    tokens = streams.tokens.clone()
    tokens[:, index] = tokens[:, index].flip(1)
    return streams._replace(tokens=tokens)


def _level(backbone: AbstractBackbone, name: str = "level") -> Tensor:
    return random_like(name, backbone.ports.level_width)


def _parts(features: Features) -> dict[str, Tensor]:
    parts = {f"grids[{port!r}]": grid for port, grid in features.grids.items()}
    parts |= {f"bottlenecks[{port!r}]": grid for port, grid in features.bottlenecks.items()}
    return parts if features.tokens is None else parts | {"tokens": features.tokens}


def check_feature_shapes(backbone: AbstractBackbone, tokens: int) -> None:
    """Every port keeps its name, its shape and its width, and every token comes out again."""
    ports, features = backbone.ports, backbone(_streams(backbone, tokens), _level(backbone))
    assert set(features.grids) == set(ports.grids), (
        f"ports {sorted(ports.grids)} go in, {sorted(features.grids)} come out"
    )
    for port, shape in ports.grids.items():
        assert_shape(features.grids[port], (ROWS, ports.grid_width, *shape), f"grids[{port!r}]")
    for port, grid in features.bottlenecks.items():
        assert port in ports.grids, f"a bottleneck of port {port!r}; there is {', '.join(ports.grids) or 'none'}"
        assert tuple(grid.shape[:2]) == (ROWS, ports.bottleneck_width), (
            f"bottlenecks[{port!r}]: shape {tuple(grid.shape)}, expected ({ROWS}, {ports.bottleneck_width}, ...)"
        )
    if tokens:
        assert features.tokens is not None, f"{tokens} tokens go in, none comes out"
        assert_shape(features.tokens, (ROWS, tokens, ports.token_width), "tokens")
    for name, tensor in _parts(features).items():
        assert_finite(tensor, name)


def check_gradient_everywhere(backbone: AbstractBackbone, tokens: int) -> None:
    """Every weight learns."""
    generic = at_generic_weights(backbone)
    assert_gradient_everywhere(generic, _parts(generic(_streams(backbone, tokens), _level(backbone))).values())


def check_everything_meets(backbone: AbstractBackbone, tokens: int) -> None:
    """Every output changes with every input: variables that never meet are not modelled jointly.

    Bottlenecks count together, for one may be taken before the ports meet.
    """
    generic = at_generic_weights(backbone)
    streams, level = _streams(backbone, tokens), _level(backbone)
    changed = {"the level": (streams, _level(backbone, "other level"))}
    for port, grid in streams.grids.items():
        changed[f"grid {port!r}"] = (streams._replace(grids={**streams.grids, port: grid.flip(1)}), level)
    changed |= {f"token {index}": (_with_other_token(streams, index), level) for index in range(tokens)}
    before = _outputs(generic(streams, level))
    for what, inputs in changed.items():
        for name, after in _outputs(generic(*inputs)).items():
            assert_some_differ(before[name], after, f"{name} does not change with {what}")


def _outputs(features: Features) -> dict[str, list[Tensor]]:
    """What adapters read, apart."""
    outputs = {f"grid {port!r}": [grid] for port, grid in features.grids.items()}
    if features.bottlenecks:
        outputs["the bottleneck"] = list(features.bottlenecks.values())
    if features.tokens is not None:
        outputs |= {f"token {index}": [token] for index, token in enumerate(features.tokens.unbind(1))}
    return outputs


def check_rows_independent(backbone: AbstractBackbone, tokens: int) -> None:
    """What a row gives does not depend on its company."""
    generic = at_generic_weights(backbone)
    streams, level = _streams(backbone, tokens), _level(backbone)
    together = _parts(generic(streams, level))
    for row in range(ROWS):
        one = slice(row, row + 1)
        part = Streams(
            {port: grid[one] for port, grid in streams.grids.items()},
            None if streams.tokens is None else streams.tokens[one],
        )
        alone = _parts(generic(part, level[one]))
        for name, tensor in together.items():
            assert_all_close([alone[name]], [tensor[one]], f"{name}: row {row} alone")


def check_links_kept(backbone: AbstractBackbone, tokens: int) -> None:
    """Tokens hear of those alone that links lead to, be it through others; without links, of all."""
    generic = at_generic_weights(backbone)
    streams, level = _streams(backbone, tokens), _level(backbone)
    all_of_them = torch.ones(tokens, tokens, dtype=torch.bool)
    assert_all_close(
        [_parts(generic(streams._replace(links=all_of_them), level))["tokens"]],
        [_parts(generic(streams, level))["tokens"]],
        "tokens, all of them linked",
    )
    apart = streams._replace(links=all_of_them.tril())
    before = _parts(generic(apart, level))["tokens"]
    for index in range(1, tokens):
        after = _parts(generic(_with_other_token(apart, index), level))["tokens"]
        assert_equal(
            after[:, :index].detach(), before[:, :index].detach(), f"tokens that no link leads from to token {index}"
        )


def check_inputs_unchanged(backbone: AbstractBackbone, tokens: int) -> None:
    """Nothing that a backbone is given is written to."""
    streams, level = _streams(backbone, tokens), _level(backbone)
    backbone(streams, level)
    fresh = _streams(backbone, tokens)
    for port, grid in streams.grids.items():
        assert_equal(grid, fresh.grids[port], f"the stream of grid {port!r} after use")
    if streams.tokens is not None and fresh.tokens is not None:
        assert_equal(streams.tokens, fresh.tokens, "the stream of tokens after use")
    assert_equal(level, _level(backbone), "the level after use")


CHECKS = (
    check_feature_shapes,
    check_gradient_everywhere,
    check_everything_meets,
    check_rows_independent,
    check_inputs_unchanged,
)
"""Checks of any backbone."""
