"""Perceptual and adversarial loss terms: their distances, their gradients, and when they begin."""

import pytest
import torch
from monai.networks.nets import resnet10
from torch.nn import functional

from metavoxel.errors import RunError
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.codecs.kl_vae_losses import MedicalNetDistance, PatchAdversary, gradient_distance
from metavoxel.rng import Rng

TINY = {"channels": (8,), "latent_channels": 2, "residual_blocks": 1}


def images(*shape):
    return Rng.for_rows(shape[0], "images").uniform(shape)


@pytest.fixture(scope="module")
def medicalnet(tmp_path_factory):
    """A file as published: names of a parallel network inside a checkpoint, here with random weights."""
    torch.manual_seed(0)
    network = resnet10(pretrained=False, spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="B",
                       bias_downsample=False)  # fmt: skip
    path = tmp_path_factory.mktemp("medicalnet") / "resnet_10.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, path)
    return path


def test_gradients_are_compared_and_offsets_ignored():
    x = images(2, 1, 16, 12)
    assert gradient_distance(x, x) == 0
    torch.testing.assert_close(gradient_distance(x + 1, x), torch.tensor(0.0), atol=1e-6, rtol=0)
    blurred = functional.avg_pool2d(functional.pad(x, (1,) * 4, mode="reflect"), 3, 1)
    noisy = x + 0.01 * torch.randn_like(x)
    assert gradient_distance(blurred, x) > gradient_distance(noisy, x) > 0
    assert gradient_distance(images(1, 2, 4, 4, 4), images(2, 2, 4, 4, 4)[1:]) > 0


def test_features_of_medicalnet_differ_for_another_structure_and_not_for_another_intensity(medicalnet):
    distance, x = MedicalNetDistance(medicalnet), images(2, 1, 16, 16, 16)
    torch.testing.assert_close(distance(x, 3 * x + 1), torch.tensor(0.0), atol=1e-5, rtol=0)
    near = distance(x + 0.02 * torch.randn_like(x), x)
    assert distance(x.flip(2), x) > 3 * near > 0
    x.requires_grad_()
    distance(x, x.detach().flip(2)).backward()
    assert x.grad.abs().sum() > 0


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(RunError, match=r"not those of MedicalNet's ResNet-10: the file lacks conv1.weight .* \[2, 2\]"):
        MedicalNetDistance(tmp_path / "other.pth")


def test_each_adversarial_loss_trains_its_own_side():
    torch.manual_seed(0)
    adversary, real, generated = (
        PatchAdversary(1, [16, 16], weight=1.0, start=0),
        images(2, 1, 32, 32),
        torch.rand(2, 1, 32, 32, requires_grad=True),
    )
    generator, discriminator = adversary.losses(real, generated)
    generator.backward(retain_graph=True)
    assert generated.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in adversary.parameters())
    generated.grad = None
    discriminator.backward()
    assert generated.grad is None
    assert all(weight.grad is not None for weight in adversary.parameters())


def test_a_trained_discriminator_separates_and_the_generator_s_loss_falls_where_it_is_fooled():
    torch.manual_seed(0)
    adversary = PatchAdversary(1, [16, 16], weight=1.0, start=0)
    real, generated = images(8, 1, 32, 32), functional.avg_pool2d(images(8, 1, 34, 34), 3, 1)
    optimiser = torch.optim.Adam(adversary.parameters(), 2e-3)
    first = float(adversary.losses(real, generated)[1].detach())
    for _ in range(40):
        optimiser.zero_grad()
        adversary.losses(real, generated)[1].backward()
        optimiser.step()
    with torch.no_grad():
        assert adversary.losses(real, generated)[1] < 0.5 * first
        assert adversary.losses(real, real)[0] < adversary.losses(real, generated)[0]


def test_terms_are_off_by_default_and_begin_when_they_should():
    x = images(2, 1, 16, 16)
    assert set(KLVAESpec(**TINY).build((1, 16, 16)).losses(x, rng=Rng.for_rows(2, "a"))) == {"l1", "kl"}
    codec = KLVAESpec(**TINY, perceptual_weight=0.5, adversarial_weight=0.1, adversarial_start=2).build((1, 16, 16))
    names = [set(codec.losses(x, rng=Rng.for_rows(2, "a", step))) for step in range(3)]
    assert names == [{"l1", "kl", "perceptual"}] * 2 + [{"l1", "kl", "perceptual", "adversarial", "discriminator"}]
    restored = KLVAESpec(**TINY, adversarial_weight=0.1, adversarial_start=2).build((1, 16, 16))
    restored.load_state_dict(codec.state_dict())
    assert "adversarial" in restored.losses(x, rng=Rng.for_rows(2, "a"))


def test_the_file_of_features_is_read_for_training_alone_and_not_saved(medicalnet):
    x = images(2, 1, 16, 16, 16)
    spec = KLVAESpec(**TINY, perceptual_weight=1, perceptual_features=medicalnet)
    codec = spec.build((1, 16, 16, 16))
    codec.prepare(lambda: [x])
    plain = KLVAESpec(**TINY).build((1, 16, 16, 16))
    assert codec.state_dict().keys() == plain.state_dict().keys()
    terms = codec.losses(x, rng=Rng.for_rows(2, "a"))
    terms["perceptual"].backward()
    assert all(weight.grad is not None for weight in codec.autoencoder.linear_decoder.parameters())
    with pytest.raises(RunError, match="no file"):
        KLVAESpec(**TINY, perceptual_features=medicalnet.with_suffix(".none")).build((1, 16, 16, 16)).prepare(
            lambda: [x]
        )


def test_images_that_do_not_suit_are_refused(medicalnet):
    with pytest.raises(ValueError, match="3-D images; omit them"):
        KLVAESpec(**TINY, perceptual_features=medicalnet).build((1, 16, 16))
    with pytest.raises(ValueError, match="needs 16 voxels"):
        KLVAESpec(**TINY, adversarial_weight=1).build((1, 16, 8))
