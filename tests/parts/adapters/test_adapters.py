"""What each adapter adds to the contract that ``metavoxel.testing`` checks of all of them."""

import pytest
import torch

from metavoxel.parts.adapters.base import AdapterContext, Features
from metavoxel.parts.adapters.grid import GridAdapterSpec, GridSummaryAdapterSpec
from metavoxel.parts.adapters.painted import PaintedAdapterSpec
from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.backbones.unet import UNetSpec
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng

GRIDS = {"volume": (4, 4, 4), "picture": (4, 6)}
PORTS = UNetSpec(channels=(8, 16), head_channels=8, token_width=16).build(GRIDS).ports
ROWS = 3


def normal(*shape):
    return Rng.for_rows(shape[0], "adapters", *shape).normal(shape)


def build(spec, code_shape, port=None, kernel=GaussianKernel()):  # noqa: B008 (frozen)
    torch.manual_seed(0)
    return spec.build(AdapterContext(kernel, code_shape, code_shape[0], port, PORTS)).eval()


def times(value=0.5):
    return torch.full((ROWS,), value, dtype=torch.float64)


def seen(shape, value=False):
    return torch.full((ROWS, 1, *shape), value)


@pytest.mark.parametrize("port", GRIDS)
def test_an_image_enters_and_leaves_by_its_own_port(port):
    shape = (5, *GRIDS[port])
    adapter = build(GridSummaryAdapterSpec(components=2), shape, port)
    streams = adapter.embed(normal(ROWS, *shape), times(), seen(shape[1:]), normal(ROWS, adapter.features))
    assert list(streams.grids) == [port]
    assert streams.grids[port].shape == (ROWS, PORTS.grid_width, *GRIDS[port])
    assert streams.tokens.shape == (ROWS, 1, PORTS.token_width)
    features = Features({name: normal(ROWS, PORTS.grid_width, *grid) for name, grid in GRIDS.items()}, {}, None)
    assert adapter.head(features).shape == (ROWS, *shape)


def test_an_image_without_components_has_no_token():
    adapter = build(GridAdapterSpec(), (2, 4, 6), "picture")
    assert adapter.tokens == 0
    assert adapter.embed(normal(ROWS, 2, 4, 6), times(), seen((4, 6)), normal(ROWS, 0)).tokens is None


def test_an_image_is_what_its_components_explain_and_a_field():
    """The field's estimate is the joint model's to make: what enters is a token, and what is asked for the code."""
    shape = (2, 4, 6)
    adapter = build(GridSummaryAdapterSpec(components=3), shape, "picture")
    codes = normal(30, *shape) * torch.linspace(0.1, 3, 6)
    adapter.fit(lambda: [codes])
    first = codes[:ROWS]
    assert adapter.embed(first, times(), seen(shape[1:]), adapter.describe(first)).skip is None
    explained = adapter.explained(adapter.describe(codes))
    flat = (codes - codes.mean(0)).flatten(1)
    directions = torch.linalg.svd(flat, full_matrices=False).Vh[:3]
    exact = codes.mean(0) + (flat @ directions.T @ directions).reshape(codes.shape)
    torch.testing.assert_close(explained, exact, atol=1e-3, rtol=1e-3)
    paper = build(GridAdapterSpec(), shape, "picture")
    assert paper.explained(normal(ROWS, 0)) is None


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_painted_value_covers_every_grid_evenly(channels):
    adapter = build(PaintedAdapterSpec(), (channels,))
    streams = adapter.embed(normal(ROWS, channels), times(), seen(()), normal(ROWS, 0))
    assert set(streams.grids) == set(GRIDS) and adapter.tokens == 0 and streams.tokens is None
    for port, grid in GRIDS.items():
        painted = streams.grids[port].expand(ROWS, PORTS.grid_width, *grid).flatten(2)
        assert torch.equal(painted, painted[:, :, :1].expand_as(painted))
    assert streams.context.shape == (ROWS, 1, PORTS.token_width)


def test_a_painted_binary_is_one_scalar_between_minus_1_and_1():
    assert build(PaintedAdapterSpec(), (2,)).paint.in_features == 2, "two numbers are no binary category"
    adapter = build(PaintedAdapterSpec(), (2,), kernel=UniformD3PMKernel())
    assert adapter.paint.in_features == adapter.inlet.in_features == 1
    codes = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    tokens = adapter.embed(codes, times(), seen(()), normal(len(codes), 0)).context[:, 0]
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
    code, belief = normal(ROWS, 3), normal(ROWS, adapter.features)
    token = adapter.embed(code, times(), seen(()), belief).tokens
    assert token.shape == (ROWS, 1, PORTS.token_width)
    assert not torch.equal(token, adapter.embed(code + 1, times(), seen(()), belief).tokens)
    assert not torch.equal(token, adapter.embed(code, times(0.6), seen(()), belief).tokens)
    assert not torch.equal(token, adapter.embed(code, times(), seen((), True), belief).tokens)
    assert adapter.head(Features({}, {}, token)).shape == (ROWS, 3)
