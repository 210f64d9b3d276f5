"""Resuming from a training state equals uninterrupted training, in every memory format."""

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from metavoxel.learning.loop import Optimisation, Optimiser


class Network(nn.Module):
    """A 3-D convolution and a matrix for Muon, in a given memory format. Final."""

    def __init__(self, memory_format):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv3d(4, 6, 3, padding=1).to(memory_format=memory_format)
        self.matrix = nn.Parameter(
            torch.randn(5, 6).t() if memory_format != torch.contiguous_format else torch.randn(6, 5)
        )

    def forward(self, x):
        return self.convolution(x).mean((2, 3, 4)) @ self.matrix


def trained(network, folder, stops):
    """Train for six steps, with a new optimiser and module after each stop; return final weights and average."""
    settings = Optimisation(6, 1e-2, 0.1, 0, 1.0, ema=0.9, orthogonal=("matrix",))
    x = torch.randn(2, 4, 5, 4, 3, generator=torch.Generator().manual_seed(1))
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    found = None
    for stop in (*stops, 6):
        module = network()
        found = Optimiser(fabric, module, settings)
        if (folder / "state.safetensors").exists():
            found.load(folder / "state.safetensors")
        for step in found.run(lambda step, module=module: {"a": (module(x) - step).square().mean()}):
            if step.number == stop:
                break
        found.save(folder / "state.safetensors")
    return {**dict(found.module.named_parameters()), **{f"average/{name}": one for name, one in found.average.items()}}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_a_resumed_training_has_the_same_weights(tmp_path, memory_format):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = trained(lambda: Network(memory_format), tmp_path / "whole", ())
    parts = trained(lambda: Network(memory_format), tmp_path / "parts", (3,))
    assert whole.keys() == parts.keys()
    for name, weight in whole.items():
        assert torch.equal(weight, parts[name]), name
        assert weight.stride() == parts[name].stride(), name
    initial = Network(memory_format).convolution.weight
    assert not torch.equal(whole["convolution.weight"], initial), "nothing was trained"
