"""Properties of each adapter beyond the conformance checks of ``metavoxel.testing``."""

import pytest
import torch

from metavoxel.parts.adapters.base import AdapterInputs, BackboneOutputs, port_name
from metavoxel.parts.adapters.grid import GridAdapterSpec, GridSummaryAdapterSpec
from metavoxel.parts.adapters.painted import PaintedAdapterSpec
from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.backbones.unet import UNetSpec
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng

VOLUME, PICTURE = "grid_4x4x4", "grid_4x6"
GRIDS = {VOLUME: (4, 4, 4), PICTURE: (4, 6)}
PORTS = UNetSpec(channels=(8, 16), head_channels=8, token_width=16).build(GRIDS).ports
ROWS = 3


def normal(*shape):
    return Rng.for_rows(shape[0], "adapters", *shape).normal(shape)


def build(spec, code_shape, kernel=GaussianKernel()):  # noqa: B008 (frozen)
    """Return an adapter, and its features in the Gaussian baseline."""
    torch.manual_seed(0)
    context = spec.context(kernel, code_shape, PORTS)
    return spec.build(context).eval(), context.features


def times(value=0.5):
    return torch.full((ROWS,), value, dtype=torch.float64)


def mask(shape, value=False):
    return torch.full((ROWS, 1, *shape), value)


@pytest.mark.parametrize("port", GRIDS)
def test_an_image_uses_its_own_port(port):
    shape = (5, *GRIDS[port])
    assert port_name(shape) == port
    adapter, features = build(GridSummaryAdapterSpec(components=2), shape)
    streams = adapter.embed(AdapterInputs(normal(ROWS, *shape), times(), mask(shape[1:]), normal(ROWS, features.size)))
    assert list(streams.grids) == [port]
    assert streams.grids[port].shape == (ROWS, PORTS.grid_width, *GRIDS[port])
    assert streams.tokens.shape == (ROWS, 1, PORTS.token_width)
    grids = {name: normal(ROWS, PORTS.grid_width, *grid) for name, grid in GRIDS.items()}
    outputs = BackboneOutputs(grids, {}, normal(ROWS, 1, PORTS.token_width))
    assert adapter.head(outputs).shape == (ROWS, *shape)


def test_an_image_without_components_has_no_token():
    adapter, features = build(GridAdapterSpec(), (2, 4, 6))
    assert adapter.tokens == 0 and features is None
    assert adapter.embed(AdapterInputs(normal(ROWS, 2, 4, 6), times(), mask((4, 6)), normal(ROWS, 0))).tokens is None


def test_the_baseline_of_an_image_enters_its_maps():
    adapter, features = build(GridSummaryAdapterSpec(components=2), (2, 4, 6))
    inputs = AdapterInputs(normal(ROWS, 2, 4, 6), times(), mask((4, 6)), normal(ROWS, features.size))
    baseline = normal(ROWS, 2, 4, 6)
    without, with_it = adapter.embed(inputs), adapter.embed(inputs._replace(baseline=baseline))
    assert torch.equal(without.tokens, with_it.tokens)
    torch.testing.assert_close(with_it.grids[PICTURE] - without.grids[PICTURE], adapter.stem(baseline))


def test_components_need_gaussian_noise():
    adapter, features = build(GridSummaryAdapterSpec(components=2), (2, 4, 6), kernel=UniformD3PMKernel())
    assert features is None and adapter.needs_grids


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_painted_value_is_constant_on_every_grid(channels):
    adapter, _ = build(PaintedAdapterSpec(), (channels,))
    streams = adapter.embed(AdapterInputs(normal(ROWS, channels), times(), mask(()), normal(ROWS, 0)))
    assert set(streams.grids) == set(GRIDS) and adapter.tokens == 0 and streams.tokens is None
    for port, grid in GRIDS.items():
        painted = streams.grids[port].expand(ROWS, PORTS.grid_width, *grid).flatten(2)
        assert torch.equal(painted, painted[:, :, :1].expand_as(painted))
    assert streams.context.shape == (ROWS, 1, PORTS.token_width)


def test_a_painted_binary_is_one_scalar_between_minus_1_and_1():
    assert build(PaintedAdapterSpec(), (2,))[0].paint.in_features == 2, (
        "a code of two numbers is taken as a binary category"
    )
    adapter, _ = build(PaintedAdapterSpec(), (2,), kernel=UniformD3PMKernel())
    assert adapter.paint.in_features == adapter.in_proj.in_features == 1
    codes = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    tokens = adapter.embed(AdapterInputs(codes, times(), mask(()), normal(len(codes), 0))).context[:, 0]
    slope, bias = adapter.in_proj.weight[:, 0], adapter.in_proj.bias
    torch.testing.assert_close(tokens, torch.stack([bias - slope, bias, bias + slope]))


def test_a_painted_head_pools_the_bottlenecks():
    """Pooling is after convolutions, so that position matters at the edges."""
    adapter, _ = build(PaintedAdapterSpec(), (1,))
    bottlenecks = {
        VOLUME: normal(ROWS, PORTS.bottleneck_width, 2, 2, 2),
        PICTURE: normal(ROWS, PORTS.bottleneck_width, 2, 3),
    }
    prediction = adapter.head(BackboneOutputs({}, bottlenecks, None))
    assert prediction.shape == (ROWS, 1)
    alone = torch.stack([adapter.heads[name](bottlenecks[name]) for name in GRIDS]).mean(0)
    assert torch.equal(prediction, alone)
    shifted = {name: bottleneck.roll(1, -1) for name, bottleneck in bottlenecks.items()}
    assert not torch.equal(prediction, adapter.head(BackboneOutputs({}, shifted, None)))


def test_a_token_depends_on_value_time_and_observed_mask():
    adapter, features = build(TokenAdapterSpec(), (3,))
    code, expected = normal(ROWS, 3), normal(ROWS, features.size)
    token = adapter.embed(AdapterInputs(code, times(), mask(()), expected)).tokens
    assert token.shape == (ROWS, 1, PORTS.token_width)
    assert not torch.equal(token, adapter.embed(AdapterInputs(code + 1, times(), mask(()), expected)).tokens)
    assert not torch.equal(token, adapter.embed(AdapterInputs(code, times(0.6), mask(()), expected)).tokens)
    assert not torch.equal(token, adapter.embed(AdapterInputs(code, times(), mask((), True), expected)).tokens)
    assert adapter.head(BackboneOutputs({}, {}, token)).shape == (ROWS, 3)
