"""Further loss terms of the KL autoencoder: perceptual distances, and a patch discriminator.

The distances are plain objects rather than modules: their fixed weights are no part of a codec's file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from metavoxel.errors import Problem, RunError
from metavoxel.parts.codecs.kl_vae_weights import mismatch, read_weights

SCALES = (1, 2, 4)
"""Voxels per cell of the grids on which gradients are compared."""
SMALLEST = 16
"""Voxels along each axis that the discriminator needs."""


def gradient_distance(images: Float[Tensor, "b k *d"], others: Float[Tensor, "b k *d"]) -> Float[Tensor, ""]:
    """Return the mean absolute difference of image gradients at several scales, a distance without any weights."""
    error, axes = images - others, range(2, images.ndim)
    pool = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(axes)]
    terms = []
    for scale in SCALES:
        if min(error.shape[2:]) >= 2 * scale:
            coarse = pool(error, scale) if scale > 1 else error
            terms += [coarse.diff(dim=axis).abs().mean() for axis in axes]
    return torch.stack(terms).mean()


@final
class MedicalNetDistance:
    """Distance between features of MedicalNet's 3-D ResNet-10 (Chen et al. 2019, arXiv:1904.00625).

    As in LPIPS without its linear layers (Zhang et al. 2018): features of four stages are normalised over their
    channels, and their squared differences averaged over positions. Channels of images are compared one by one.

    Args:
        path: weights of the ResNet-10 as published (``resnet_10_23dataset.pth``), or as safetensors.

    Raises:
        RunError: a file that cannot be read safely, or weights of another network.
    """

    def __init__(self, path: Path) -> None:
        from monai.networks.nets import resnet10  # takes seconds

        network = resnet10(
            pretrained=False, spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="B",
            bias_downsample=False,
        )  # fmt: skip
        weights, expected = read_weights(path), network.state_dict()
        counts = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")}
        if what := mismatch({**counts, **weights}, expected):
            raise RunError(
                Problem(f"perceptual weights {path}", f"are not those of MedicalNet's ResNet-10: the file {what}")
            )
        network.load_state_dict({**counts, **weights})
        self._network = network.eval().requires_grad_(False)

    def __call__(self, images: Float[Tensor, "b k *d"], others: Float[Tensor, "b k *d"]) -> Float[Tensor, ""]:
        self._network.to(images.device)
        pairs = zip(self._features(images), self._features(others), strict=True)
        return torch.stack([(first - second).square().sum(1).mean() for first, second in pairs]).sum()

    def _features(self, images: Float[Tensor, "b k *d"]) -> list[Float[Tensor, "n f *r"]]:
        single = images.float().flatten(0, 1)[:, None]
        axes = tuple(range(1, single.ndim))
        single = (single - single.mean(axes, keepdim=True)) / single.std(axes, keepdim=True).clamp_min(1e-6)
        network = self._network
        stage, found = network.maxpool(network.act(network.bn1(network.conv1(single)))), []
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            stage = layer(stage)
            found.append(functional.normalize(stage, dim=1, eps=1e-6))
        return found


class PatchAdversary(nn.Module):
    """Discriminator of image patches (Isola et al. 2017) with least-squares losses (Mao et al. 2017). Final.

    Both losses are minimised together: the autoencoder's has a copy of the discriminator's weights that takes no
    gradient, and the discriminator's a copy of the reconstruction.

    Args:
        images: channels.
        sizes: voxels along each axis of the images.
        weight: of the autoencoder's loss.
        start: training steps without it.

    Raises:
        ValueError: images too small for its patches.
    """

    def __init__(self, images: int, sizes: Sequence[int], *, weight: float, start: int) -> None:
        from monai.losses import PatchAdversarialLoss  # takes seconds
        from monai.networks.nets import PatchDiscriminator

        super().__init__()
        if min(sizes) < SMALLEST:
            raise ValueError(f"the discriminator of 'adversarial_weight' needs {SMALLEST} voxels along each axis")
        # Instances are normalised one by one, so that rows of a batch stay independent.
        self.discriminator = PatchDiscriminator(
            spatial_dims=len(sizes), channels=16, in_channels=images, num_layers_d=2, norm="INSTANCE"
        )
        self._loss = PatchAdversarialLoss(criterion="least_squares")
        self._weight, self._start = weight, start
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.step: Tensor

    def forward(
        self, images: Float[Tensor, "b k *d"], reconstructions: Float[Tensor, "b k *d"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the weighted loss of the autoencoder and that of the discriminator; nothing before ``start``."""
        started = int(self.step) >= self._start
        if self.training:
            self.step += 1
        if not started:
            return {}
        generator, discriminator = self.losses(images, reconstructions)
        return {"adversarial": self._weight * generator, "discriminator": discriminator}

    def losses(
        self, images: Float[Tensor, "b k *d"], reconstructions: Float[Tensor, "b k *d"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the loss of the autoencoder and that of the discriminator."""
        fixed = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        verdict = torch.func.functional_call(self.discriminator, fixed, (reconstructions,))[-1]
        generator = self._loss(verdict, target_is_real=True, for_discriminator=False)
        real, generated = self.discriminator(images)[-1], self.discriminator(reconstructions.detach())[-1]
        judged = self._loss(real, target_is_real=True, for_discriminator=True) + self._loss(
            generated, target_is_real=False, for_discriminator=True
        )
        return generator.float(), 0.5 * judged.float()
