"""Files of weights, and resuming from a training state, which equals uninterrupted training in every memory format."""

import subprocess
import sys

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from metavoxel.errors import RunError
from metavoxel.learning.loop import Optimisation, Optimiser
from metavoxel.runs.checkpoint import DamagedError, load_weights, save_weights
from metavoxel.runs.checkpoints import Checkpoints


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
        found.load(Checkpoints(folder, "state"))
        for step in found.run(lambda step, module=module: {"a": (module(x) - step).square().mean()}):
            if step.number == stop:
                break
        found.save(Checkpoints(folder, "state"))
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


def test_every_flipped_bit_of_a_tensor_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    weights = {"a": torch.randn(7, 3), "b": torch.randn(4).bfloat16(), "c": torch.tensor(3), "d": torch.zeros(2, 0)}
    save_weights(path, weights, {"step": 3, "best": float("inf")})
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    whole = path.read_bytes()
    tensors, numbers = load_weights(path)
    assert numbers == {"step": 3, "best": float("inf")}
    assert all(
        torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype for name, tensor in weights.items()
    )
    length = int.from_bytes(whole[:8], "little")
    for position in range(8, len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        if position >= 8 + length:
            with pytest.raises(DamagedError, match="differs from its checksum"):
                load_weights(path)
        else:
            try:  # a header's flip may hit padding or the name of the checksum, but no tensor, silently
                found, _ = load_weights(path)
            except DamagedError:
                continue
            assert found.keys() == weights.keys()
            assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    for cut in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DamagedError, match="not a whole safetensors file"):
            load_weights(path)


LIMITED = """
import resource, sys, torch
from pathlib import Path
from metavoxel.errors import RunError
from metavoxel.runs.checkpoint import save_weights

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as a disk that fills up
try:
    save_weights(Path(sys.argv[1]), {"a": torch.zeros(100_000)})
except RunError as error:
    print(error)
"""


def test_a_file_that_does_not_fit_is_a_message_and_keeps_the_former(tmp_path):
    pytest.importorskip("resource")
    path = tmp_path / "a.safetensors"
    save_weights(path, {"a": torch.ones(3)})
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{path}: cannot be written (File too large): the file system or the shell" in done.stdout
    assert torch.equal(load_weights(path)[0]["a"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_full_disk_names_the_remedy(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunError, match=r"No space left on device\): make room; .*`resume=True`"):
        save_weights(tmp_path / "a.safetensors", {"a": torch.ones(3)})
    assert not list(tmp_path.iterdir())
