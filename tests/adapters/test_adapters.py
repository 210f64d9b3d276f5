"""What each adapter adds to the contract that ``metavoxel.testing`` checks of all of them."""

import pytest
import torch

from metavoxel.adapters.base import AdapterContext, Features
from metavoxel.adapters.grid import GridAdapterSpec, GridSummaryAdapterSpec
from metavoxel.adapters.painted import PaintedAdapterSpec
from metavoxel.adapters.token import TokenAdapterSpec
from metavoxel.backbones.unet import UNetSpec
from metavoxel.rng import Rng

GRIDS = {"volume": (4, 4, 4), "picture": (4, 6)}
PORTS = UNetSpec(channels=(8, 16), head_channels=8, token_width=16).build(GRIDS).ports
ROWS = 3


def normal(*shape):
    return Rng.for_rows(shape[0], "adapters", *shape).normal(shape)


def build(spec, code_shape, port=None):
    torch.manual_seed(0)
    return spec.build(AdapterContext(code_shape, code_shape[0], port, PORTS)).eval()


def times(value=0.5):
    return torch.full((ROWS,), value, dtype=torch.float64)


def seen(shape, value=False):
    return torch.full((ROWS, 1, *shape), value)


@pytest.mark.parametrize("port", GRIDS)
def test_an_image_enters_and_leaves_by_its_own_port(port):
    shape = (5, *GRIDS[port])
    adapter = build(GridSummaryAdapterSpec(components=2), shape, port)
    streams = adapter.embed(normal(ROWS, *shape), times(), seen(shape[1:]))
    assert list(streams.grids) == [port]
    assert streams.grids[port].shape == (ROWS, PORTS.grid_width, *GRIDS[port])
    assert streams.tokens.shape == (ROWS, 1, PORTS.token_width)
    features = Features({name: normal(ROWS, PORTS.grid_width, *grid) for name, grid in GRIDS.items()}, {}, None)
    assert adapter.head(features).shape == (ROWS, *shape)


def test_an_image_without_components_has_no_token():
    adapter = build(GridAdapterSpec(), (2, 4, 6), "picture")
    assert adapter.tokens == 0
    assert adapter.embed(normal(ROWS, 2, 4, 6), times(), seen((4, 6))).tokens is None


def test_components_are_those_of_the_training_codes_and_white():
    """Every score has mean 0 and variance 1 over the training rows, and they are uncorrelated."""
    shape, rows = (2, 4, 6), 40
    codes = normal(rows, *shape) * torch.linspace(0.1, 3, 6) + 5
    adapter = build(GridSummaryAdapterSpec(components=7), shape, "picture")
    adapter.fit(lambda: codes.split(13))
    scores = (codes.flatten(1) - adapter.center) @ adapter.directions.T
    torch.testing.assert_close(scores.mean(0), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.T @ scores / (rows - 1), torch.eye(7), atol=1e-3, rtol=0)
    _, strengths, _ = torch.linalg.svd(codes.flatten(1) - codes.flatten(1).mean(0), full_matrices=False)
    share = (scores * strengths[:7] / (rows - 1) ** 0.5).square().sum() / (codes - codes.mean(0)).square().sum()
    torch.testing.assert_close(share, strengths[:7].square().sum() / strengths.square().sum(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_fewer_training_rows_than_components(rows):
    shape = (2, 4, 6)
    adapter = build(GridSummaryAdapterSpec(components=8), shape, "picture")
    adapter.fit(lambda: [normal(rows, *shape)])
    assert torch.isfinite(adapter.directions).all()
    assert int(adapter.directions.any(1).sum()) <= rows - 1
    assert torch.isfinite(adapter.embed(normal(ROWS, *shape), times(), seen(shape[1:])).tokens).all()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_painted_value_covers_every_grid_evenly(channels):
    adapter = build(PaintedAdapterSpec(), (channels,))
    streams = adapter.embed(normal(ROWS, channels), times(), seen(()))
    assert set(streams.grids) == set(GRIDS) and adapter.tokens == 0 and streams.tokens is None
    for port, grid in GRIDS.items():
        painted = streams.grids[port].expand(ROWS, PORTS.grid_width, *grid).flatten(2)
        assert torch.equal(painted, painted[:, :, :1].expand_as(painted))
    assert streams.context.shape == (ROWS, 1, PORTS.token_width)


def test_a_painted_binary_is_one_scalar_between_minus_1_and_1():
    adapter = build(PaintedAdapterSpec(), (2,))
    assert adapter.paint.in_features == adapter.inlet.in_features == 1
    codes = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    tokens = adapter.embed(codes, times(), seen(())).context[:, 0]
    slope, bias = adapter.inlet.weight[:, 0], adapter.inlet.bias
    torch.testing.assert_close(tokens, torch.stack([bias - slope, bias, bias + slope]))


def test_a_painted_head_pools_the_bottlenecks():
    """Global average pooling: where something is does not matter to a convolution's mean but at the edges."""
    adapter = build(PaintedAdapterSpec(), (1,))
    bottlenecks = {
        "volume": normal(ROWS, PORTS.bottleneck_width, 2, 2, 2),
        "picture": normal(ROWS, PORTS.bottleneck_width, 2, 3),
    }
    prediction = adapter.head(Features({}, bottlenecks, None))
    assert prediction.shape == (ROWS, 1)
    alone = torch.stack([adapter.heads[name](bottlenecks[name]) for name in GRIDS]).mean(0)
    assert torch.equal(prediction, alone)
    moved = {name: bottleneck.roll(1, -1) for name, bottleneck in bottlenecks.items()}
    assert not torch.equal(prediction, adapter.head(Features({}, moved, None)))


def test_a_token_tells_value_time_and_whether_it_is_given():
    adapter = build(TokenAdapterSpec(), (3,))
    code = normal(ROWS, 3)
    token = adapter.embed(code, times(), seen(())).tokens
    assert token.shape == (ROWS, 1, PORTS.token_width)
    assert not torch.equal(token, adapter.embed(code + 1, times(), seen(())).tokens)
    assert not torch.equal(token, adapter.embed(code, times(0.6), seen(())).tokens)
    assert not torch.equal(token, adapter.embed(code, times(), seen((), True)).tokens)
    assert adapter.head(Features({}, {}, token)).shape == (ROWS, 3)
