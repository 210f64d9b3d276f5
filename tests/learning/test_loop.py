"""Steps of the optimisers: the joint norm of all gradients, and gradients that are no numbers."""

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
def test_the_norm_over_all_weights_is_clipped(monkeypatch, orthogonal):
    """Whichever optimiser has them; the direction is that of the whole gradient."""
    network, x = module(), torch.randn(16, 6)
    with torch.enable_grad():
        (1e4 * network(x).square().mean()).backward()
    whole = gradients(network)
    norm = torch.sqrt(sum(gradient.double().square().sum() for gradient in whole.values()))
    network.zero_grad()
    seen, original = [], torch.optim.AdamW.step

    def step(self, *args, **options):
        seen.append(gradients(network))
        return original(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    list(optimiser(network, clip=0.7, orthogonal=orthogonal).run(lambda step: {"a": 1e4 * network(x).square().mean()}))
    (clipped,) = seen
    assert norm > 100 and clipped.keys() == whole.keys()
    after = torch.sqrt(sum(gradient.double().square().sum() for gradient in clipped.values()))
    assert after.item() == pytest.approx(0.7, rel=1e-5)
    for name, gradient in clipped.items():
        torch.testing.assert_close(gradient.double(), whole[name].double() * 0.7 / norm, rtol=1e-4, atol=1e-9)


class _Poisoned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


@pytest.mark.parametrize("poisoned", [0, 2])
def test_a_gradient_that_is_no_number_leaves_the_weights(poisoned):
    """Also that of a matrix which Muon moves."""
    network, x = module(), torch.randn(16, 6)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}

    def losses(step):
        weight = dict(network.named_parameters())[f"{poisoned}.weight"]
        return {"finite": network(x).square().mean() + 0 * _Poisoned.apply(weight).sum()}

    with pytest.raises(NumericalError, match="training step 1: the gradient is not finite"):
        list(optimiser(network, orthogonal=("2.weight",)).run(losses))
    assert all(torch.equal(weight, before[name]) for name, weight in network.named_parameters())
