"""Feature networks: the scattering transform, and weights from a file."""

import pytest
import safetensors.torch
import torch

from metavoxel.errors import RunError
from metavoxel.evaluation.metrics.features.choose import HUB_FILE, choose_features
from metavoxel.evaluation.metrics.features.radimagenet import RadImageNet, ResNet50
from metavoxel.evaluation.metrics.features.scattering import Scattering, morlets


@pytest.fixture(scope="module")
def slices():
    return torch.rand(3, 24, 20, generator=torch.Generator().manual_seed(0))


def test_scattering_is_invariant_to_translation(slices):
    network = Scattering()
    found = network(slices)
    assert found.shape == (3, network.size) and found.isfinite().all()
    assert torch.allclose(network(slices.roll((5, -3), (1, 2))), found, atol=1e-4)


def test_scattering_changes_with_blur_and_accepts_any_size(slices):
    network = Scattering()
    blurred = torch.nn.functional.avg_pool2d(slices[:, None], 3, 1, 1)[:, 0]
    assert (network(blurred) - network(slices)).norm(dim=1).min() > 1
    assert network(slices[:, :17, :13]).shape == (3, 113), "slices of any size"


def test_wavelets_vanish_on_a_constant():
    bank = morlets(24, 20)
    assert bank.shape == (4, 4, 24, 20) and bank[..., 0, 0].abs().max() < 1e-6
    flat = Scattering()(torch.full((1, 24, 20), 0.5))
    assert torch.allclose(flat[:, 1:], torch.log(torch.tensor(1e-3)), atol=1e-3)


def test_a_wave_has_its_largest_coefficient_at_its_wavelet():
    """A wave along the second axis has angle 0, one along the first axis angle 2."""
    x = torch.arange(32)
    wave = 0.5 + 0.5 * torch.cos(0.75 * torch.pi / 2 * x)
    found = Scattering()(torch.stack([wave.expand(32, 32), wave[:, None].expand(32, 32)]))[:, 1:17].reshape(2, 4, 4)
    assert found[0].flatten().argmax() == 4 + 0 and found[1].flatten().argmax() == 4 + 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    safetensors.torch.save_file(ResNet50().state_dict(), path)
    return path


def test_weights_from_a_file(weights, slices, tmp_path):
    network = choose_features(str(weights))
    found = network(slices)
    assert found.shape == (3, 2048) and network.size == 2048 and network.name.startswith("radimagenet-resnet50-")
    torch.save(safetensors.torch.load_file(weights), tmp_path / "same.pth")
    assert torch.equal(RadImageNet(tmp_path / "same.pth")(slices), found)


def test_weights_that_do_not_fit_are_refused(weights, tmp_path):
    state = safetensors.torch.load_file(weights)
    state.pop("conv1.bias")
    state["fc.weight"] = torch.zeros(5, 2048)
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2)
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file(state, other)
    with pytest.raises(RunError) as caught:
        choose_features(str(other))
    message = str(caught.value)
    assert message.startswith(f"`features={other}`: these weights are not those of RadImageNet's ResNet-50")
    assert "lacks conv1.bias" in message and "has unexpected fc.weight" in message
    assert "layer1.0.conv1.weight [2, 2] where [64, 64, 1, 1] is expected" in message


@pytest.mark.parametrize(("name", "content"), [("a.pth", b"no weights"), ("b.safetensors", b"\x01"), ("c.pth", b"")])
def test_files_that_are_not_weights_are_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=f"`features=.*{name}`: "):
        choose_features(str(tmp_path / name))


def test_missing_weights_are_refused(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="`features=nowhere.pth`: no such file of weights"):
        choose_features("nowhere.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(RunError, match=f"torch.hub has not fetched the weights .*{HUB_FILE}"):
        choose_features("radimagenet")
