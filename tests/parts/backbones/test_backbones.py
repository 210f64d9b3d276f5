"""U-Net with one or several ports, transformer and MLP: shapes, gradients, independence of rows."""

import pytest
import torch

from metavoxel.parts.adapters.base import Streams
from metavoxel.parts.backbones.mlp import MLPSpec
from metavoxel.parts.backbones.transformer import TransformerSpec
from metavoxel.parts.backbones.unet import UNetSpec
from metavoxel.parts.conformance.modules import assert_gradient_everywhere, at_generic_weights
from metavoxel.rng import Rng

SMALL = {"channels": (8, 16), "head_channels": 8, "token_width": 16}
GRIDS = {
    "one-picture": {"grid_4x6": (4, 6)},
    "one-volume": {"grid_4x4x2": (4, 4, 2)},
    "both": {"grid_4x6": (4, 6), "grid_4x4x2": (4, 4, 2)},
}


def build(spec, grids):
    """Build a backbone with perturbed weights, as zero-initialised layers would hide dependencies."""
    torch.manual_seed(0)
    return at_generic_weights(spec.build(grids))


def inputs(backbone, rows=3, tokens=2):
    rng, ports = Rng.for_rows(rows, "backbone"), backbone.ports
    grids = {name: rng.fork(name).normal((rows, ports.grid_width, *grid)) for name, grid in ports.grids.items()}
    row = rng.fork("tokens").normal((rows, tokens, ports.token_width)) if tokens else None
    return Streams(grids, row), rng.fork("level").normal((rows, ports.time_width))


@pytest.mark.parametrize("tokens", [0, 1, 3])
@pytest.mark.parametrize("name", GRIDS)
def test_every_port_keeps_its_shape(name, tokens):
    backbone = build(UNetSpec(**SMALL), GRIDS[name])
    features = backbone(*inputs(backbone, tokens=tokens))
    assert {port: tuple(grid.shape[2:]) for port, grid in features.grids.items()} == GRIDS[name]
    for port, grid in GRIDS[name].items():
        assert features.grids[port].shape[:2] == (3, 8)
        assert features.bottlenecks[port].shape == (3, 16, *(size // 2 for size in grid))
    assert features.tokens.shape == (3, tokens, 16)


@pytest.mark.parametrize("name", GRIDS)
def test_all_weights_have_gradients(name):
    backbone = build(UNetSpec(**SMALL), GRIDS[name])
    features = backbone(*inputs(backbone))
    assert_gradient_everywhere(backbone, [*features.grids.values(), *features.bottlenecks.values(), features.tokens])


@pytest.mark.parametrize(
    ("spec", "grids"),
    [(UNetSpec(**SMALL), GRIDS["both"]), (TransformerSpec(width=16, heads=2, depth=2), {}), (MLPSpec(width=16), {})],
    ids=["unet", "transformer", "mlp"],
)
def test_rows_are_independent(spec, grids):
    backbone = build(spec, grids).eval()
    streams, time_embedding = inputs(backbone, rows=4)
    together = backbone(streams, time_embedding)
    order = torch.tensor([2, 0])
    alone = backbone(
        Streams({name: grid[order] for name, grid in streams.grids.items()}, streams.tokens[order]),
        time_embedding[order],
    )
    for port, grid in together.grids.items():
        torch.testing.assert_close(alone.grids[port], grid[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.tokens, together.tokens[order], atol=1e-5, rtol=1e-5)


def test_ports_depend_on_each_other_and_on_tokens():
    """Towers are fused at the bottleneck, so that images depend on each other."""
    backbone = build(UNetSpec(**SMALL), GRIDS["both"]).eval()
    streams, time_embedding = inputs(backbone)
    before = backbone(streams, time_embedding)
    changed = {**streams.grids, "grid_4x6": streams.grids["grid_4x6"] + 1}
    assert not torch.equal(
        backbone(Streams(changed, streams.tokens), time_embedding).grids["grid_4x4x2"], before.grids["grid_4x4x2"]
    )
    assert not torch.equal(backbone(Streams(changed, streams.tokens), time_embedding).tokens, before.tokens)
    assert not torch.equal(
        backbone(Streams(streams.grids, streams.tokens + 1), time_embedding).grids["grid_4x6"], before.grids["grid_4x6"]
    )
    assert not torch.equal(backbone(streams, time_embedding + 1).grids["grid_4x6"], before.grids["grid_4x6"])


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": (8,), "attention_levels": ()},
        {"channels": (8,), "attention_levels": (0,)},
        {"channels": (8, 12, 20), "attention_levels": (0, 2)},
        {"channels": (10, 15), "head_channels": 5},
        {"channels": (8, 16), "token_width": 100},
        {"residual_blocks": 2},
        {"token_layers": 0},
        {"token_width": 64},
    ],
    ids=str,
)
def test_other_sizes(settings):
    spec = UNetSpec(**{**SMALL, **settings})
    multiple = spec.grid_multiple()
    grid = (multiple, 2 * multiple, 3 * multiple)
    backbone = build(spec, {"grid": grid})
    features = backbone(*inputs(backbone))
    assert features.grids["grid"].shape == (3, spec.channels[0], *grid)
    assert all(torch.isfinite(part).all() for part in (*features.grids.values(), features.tokens))


TOKENS = pytest.mark.parametrize(
    "spec", [TransformerSpec(width=16, heads=2, depth=2), MLPSpec(width=16, depth=2)], ids=["transformer", "mlp"]
)


@TOKENS
def test_every_token_is_an_output(spec):
    backbone = build(spec, {})
    features = backbone(*inputs(backbone, tokens=5))
    assert features.tokens.shape == (3, 5, 16) and not features.grids


@TOKENS
def test_backbones_are_equivariant_to_token_order(spec):
    backbone = build(spec, {}).eval()
    streams, time_embedding = inputs(backbone, tokens=4)
    order = torch.tensor([3, 1, 0, 2])
    mixed = backbone(Streams({}, streams.tokens[:, order]), time_embedding)
    torch.testing.assert_close(mixed.tokens, backbone(streams, time_embedding).tokens[:, order], atol=1e-5, rtol=1e-5)


def test_information_passes_one_link_per_block():
    chain = torch.eye(4, dtype=torch.bool) | torch.eye(4, dtype=torch.bool).roll(1, 1)
    chain[3, 0] = False
    backbone = build(TransformerSpec(width=16, heads=2, depth=2), {})
    streams, time_embedding = inputs(backbone, tokens=4)
    other = streams.tokens.clone()
    other[:, 3] += 1
    before, after = (
        backbone(Streams({}, tokens, links=chain | chain.T), time_embedding).tokens
        for tokens in (streams.tokens, other)
    )
    assert torch.equal(before[:, 0], after[:, 0]), "three links away, with two blocks"
    assert not torch.equal(before[:, 1], after[:, 1])
