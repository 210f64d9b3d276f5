"""Steps of the optimisers: clipping of the joint gradient norm, and non-finite gradients."""

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from metavoxel.errors import NumericalError
from metavoxel.learning.loop import Optimisation, Optimiser


def optimiser(module, clip=1.0, orthogonal=(), steps=1, rate=1e-2):
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    return Optimiser(fabric, module, Optimisation(steps, rate, 0.1, 0, clip, orthogonal=orthogonal))


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8, bias=False), nn.Linear(8, 2))


def gradients(network):
    return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("orthogonal", [(), ("2.weight",), ("0.weight", "2.weight", "3.weight")])
def test_the_joint_gradient_norm_is_clipped(monkeypatch, orthogonal):
    """Clipping spans all optimisers and preserves the direction of the gradient."""
    network, x = module(), torch.randn(16, 6)
    with torch.enable_grad():
        (1e4 * network(x).square().mean()).backward()
    unclipped = gradients(network)
    norm = torch.sqrt(sum(gradient.double().square().sum() for gradient in unclipped.values()))
    network.zero_grad()
    calls, original = [], torch.optim.AdamW.step

    def step(self, *args, **options):
        calls.append(gradients(network))
        return original(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    list(optimiser(network, clip=0.7, orthogonal=orthogonal).run(lambda step: {"a": 1e4 * network(x).square().mean()}))
    (clipped,) = calls
    assert norm > 100 and clipped.keys() == unclipped.keys()
    after = torch.sqrt(sum(gradient.double().square().sum() for gradient in clipped.values()))
    assert after.item() == pytest.approx(0.7, rel=1e-5)
    for name, gradient in clipped.items():
        torch.testing.assert_close(gradient.double(), unclipped[name].double() * 0.7 / norm, rtol=1e-4, atol=1e-9)


class _NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


@pytest.mark.parametrize("layer", [0, 2])
def test_nan_gradients_leave_the_weights_unchanged(layer):
    """Also gradients of a matrix optimised by Muon."""
    network, x = module(), torch.randn(16, 6)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}

    def losses(step):
        weight = dict(network.named_parameters())[f"{layer}.weight"]
        return {"finite": network(x).square().mean() + 0 * _NaNGradient.apply(weight).sum()}

    with pytest.raises(NumericalError, match="training step 1: the gradient is not finite"):
        list(optimiser(network, orthogonal=("2.weight",)).run(losses))
    assert all(torch.equal(weight, before[name]) for name, weight in network.named_parameters())
