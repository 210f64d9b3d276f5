"""Convolutions equal PyTorch's in single precision, and have right gradients in half precision."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from metavoxel.parts.convolutions import Convolution3d, convolution, convolve_3d, with_right_gradients

GRIDS = [(1, 4, 4), (2, 2, 2), (2, 5, 7), (3, 4, 4), (4, 2, 6), (5, 3, 2)]


def inputs(grid, width, rows=2, channels=16):
    generator = torch.Generator().manual_seed(sum(grid) + width)
    x = torch.randn(rows, channels, *grid, generator=generator)
    weight = torch.randn(16, channels, *[width] * 3, generator=generator) / width
    return x, weight, torch.randn(16, generator=generator)


def results(convolve, tensors, half):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = convolve(*leaves)
    return [output.detach().float(), *torch.autograd.grad(output.float().square().mean(), leaves)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("width", "stride"), [(3, 1), (3, 2), (5, 1)])
def test_half_precision_agrees_with_single(grid, width, stride):
    def ours(*tensors):
        return convolve_3d(*tensors, (stride,) * 3, (width // 2,) * 3)

    def plain(*tensors):
        return functional.conv3d(*tensors, stride=stride, padding=width // 2)

    tensors = inputs(grid, width)
    exact = results(plain, tensors, half=False)
    for found, expected in zip(results(ours, tensors, half=False), exact, strict=True):
        assert torch.equal(found, expected)
    for found, expected in zip(results(ours, tensors, half=True), exact, strict=True):
        assert found.shape == expected.shape
        assert float((found - expected).norm()) < 0.02 * float(expected.norm())


def test_weights_keep_names_values_and_optimisers():
    block = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ModuleList([nn.Conv3d(4, 2, 3, stride=2)]))
    before, weights = copy.deepcopy(block.state_dict()), set(block.parameters())
    replaced = with_right_gradients(block)
    assert replaced is block and set(block.parameters()) == weights
    assert sum(isinstance(module, Convolution3d) for module in block.modules()) == 2
    assert list(before) == list(block.state_dict())
    block.load_state_dict(before)
    x = torch.randn(1, 2, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = functional.conv3d(x, before["0.weight"], before["0.bias"], padding=1)
    assert torch.equal(block[0](x), expected)
    copied = copy.deepcopy(block)
    assert not set(copied.parameters()) & weights and torch.equal(copied[0](x), expected)


@pytest.mark.parametrize(
    "kept",
    [
        nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 3, groups=2), nn.Conv3d(2, 2, 3, dilation=2),
        nn.Conv3d(2, 2, 3, padding="same"), nn.Conv3d(2, 2, 3, padding=1, padding_mode="circular"), nn.Conv2d(2, 2, 3),
    ],
)  # fmt: skip
def test_other_convolutions_are_kept(kept):
    assert with_right_gradients(nn.Sequential(kept))[0] is kept


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions_over_one_to_three_axes(axes):
    layer = convolution(axes, 3, 5, kernel_size=3, padding=1)
    assert layer(torch.zeros(2, 3, *[4] * axes)).shape == (2, 5, *[4] * axes)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
