"""Discriminative networks of images and a few numbers, built from MONAI, each in three sizes.

Every class builds the network of one grid. For small grids, downsampling levels are omitted or inputs are padded.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from monai.networks.nets import DenseNet, ResNet, ViT
from torch import Tensor, nn
from torch.nn import functional

from metavoxel.evaluation.choices import Size


class Ports(NamedTuple):
    """Input and output dimensions of a network."""

    grid: tuple[int, ...]
    """Voxels along each axis, two or three."""
    images: int
    numbers: int
    outputs: int


class AbstractArchitecture(ABC):
    """Builder of networks, whose modules take images (b, images, *grid) and numbers (b, numbers)."""

    title: str
    learning_rate: float
    """Peak learning rate of AdamW."""

    @abstractmethod
    def build(self, ports: Ports, size: Size) -> nn.Module:
        """Build an untrained network with outputs (b, outputs)."""


def painted(images: Float[Tensor, "b c *s"], numbers: Float[Tensor, "b f"]) -> Float[Tensor, "b d *s"]:
    """Concatenate the images and constant maps of the numbers along channels."""
    maps = numbers.reshape(*numbers.shape, *[1] * (images.ndim - 2)).expand(-1, -1, *images.shape[2:])
    return torch.cat([images, maps], 1)


def padded(images: Float[Tensor, "b c *s"], grid: Sequence[int]) -> Float[Tensor, "b c *t"]:
    """Zero-pad the images at the end of each axis to a larger grid."""
    margins = [size - here for size, here in zip(grid, images.shape[2:], strict=True)]
    return functional.pad(images, [width for margin in reversed(margins) for width in (0, margin)])


@final
class _Painted(nn.Module):
    """Network of image channels on one grid, some of which are constant maps of the numbers."""

    def __init__(self, network: nn.Module, grid: Sequence[int]) -> None:
        super().__init__()
        self.network, self._grid = network, tuple(grid)

    def forward(self, images: Float[Tensor, "b c *s"], numbers: Float[Tensor, "b f"]) -> Float[Tensor, "b k"]:
        result = self.network(padded(painted(images, numbers), self._grid))
        output: Tensor = result[0] if isinstance(result, tuple) else result  # MONAI's ViT also returns hidden states
        return output


class _DenseSize(NamedTuple):
    features: int
    growth: int
    blocks: tuple[int, ...]


@final
class DenseNetArchitecture(AbstractArchitecture):
    """DenseNet (Huang et al. 2017, "Densely connected convolutional networks"); 'full' is DenseNet121."""

    title, learning_rate = "DenseNet, other variables as input channels", 1e-3
    _sizes = MappingProxyType(
        {
            "small": _DenseSize(16, 12, (2, 4, 6, 4)),
            "medium": _DenseSize(32, 16, (4, 8, 12, 8)),
            "full": _DenseSize(64, 32, (6, 12, 24, 16)),
        }
    )

    def build(self, ports: Ports, size: Size) -> nn.Module:
        chosen = self._sizes[size]
        halvings = int(math.log2(math.ceil(min(ports.grid) / 4)))  # after the stem's downsampling by 4
        network = DenseNet(
            len(ports.grid),
            ports.images + ports.numbers,
            ports.outputs,
            init_features=chosen.features,
            growth_rate=chosen.growth,
            block_config=chosen.blocks[: halvings + 1],
        )
        return _Painted(network, ports.grid)


class _ViTSize(NamedTuple):
    width: int
    layers: int
    heads: int
    tokens: int
    """Maximum number of patches; the patch size is the smallest that this allows."""


@final
class ViTArchitecture(AbstractArchitecture):
    """Vision transformer (Dosovitskiy et al. 2020, "An image is worth 16x16 words"); 'full' is ViT-B."""

    title, learning_rate = "ViT, other variables as input channels", 3e-4
    _sizes = MappingProxyType(
        {"small": _ViTSize(96, 4, 4, 300), "medium": _ViTSize(192, 8, 6, 600), "full": _ViTSize(768, 12, 12, 2000)}
    )

    def build(self, ports: Ports, size: Size) -> nn.Module:
        chosen = self._sizes[size]
        patch = next(
            patch
            for patch in (2**power for power in range(1, 32))
            if math.prod(math.ceil(voxels / patch) for voxels in ports.grid) <= chosen.tokens
        )
        grid = [math.ceil(voxels / patch) * patch for voxels in ports.grid]
        network = ViT(
            ports.images + ports.numbers,
            grid,
            patch,
            hidden_size=chosen.width,
            mlp_dim=4 * chosen.width,
            num_layers=chosen.layers,
            num_heads=chosen.heads,
            classification=True,
            num_classes=ports.outputs,
            spatial_dims=len(grid),
            post_activation="none",
        )
        return _Painted(network, grid)


_SMALLEST_RESNET_GRID = 33
"""Minimum number of voxels along an axis for which the deepest level, downsampled by 32, has more than one."""


class _ResNetSize(NamedTuple):
    layers: tuple[int, ...]
    widths: tuple[int, ...]


@final
class BraidArchitecture(AbstractArchitecture):
    """ResNet features and numbers in a two-layer head (BRAID: Gao et al. 2025); 'full' is ResNet18."""

    title, learning_rate = "ResNet, other variables concatenated with its features", 1e-3
    _sizes = MappingProxyType(
        {
            "small": _ResNetSize((1, 1, 1, 1), (16, 32, 64, 128)),
            "medium": _ResNetSize((1, 1, 1, 1), (32, 64, 128, 256)),
            "full": _ResNetSize((2, 2, 2, 2), (64, 128, 256, 512)),
        }
    )

    def build(self, ports: Ports, size: Size) -> nn.Module:
        return _Braid(ports, self._sizes[size])


@final
class _Braid(nn.Module):
    def __init__(self, ports: Ports, size: _ResNetSize) -> None:
        super().__init__()
        self._grid = [max(voxels, _SMALLEST_RESNET_GRID) for voxels in ports.grid]
        self.features = ResNet(
            "basic",
            list(size.layers),
            list(size.widths),
            spatial_dims=len(ports.grid),
            n_input_channels=ports.images,
            conv1_t_stride=2,
            feed_forward=False,
        )
        width = size.widths[-1]
        self.head = nn.Sequential(nn.Linear(width + ports.numbers, width), nn.ReLU(), nn.Linear(width, ports.outputs))

    def forward(self, images: Float[Tensor, "b c *s"], numbers: Float[Tensor, "b f"]) -> Float[Tensor, "b k"]:
        output: Tensor = self.head(torch.cat([self.features(padded(images, self._grid)), numbers], 1))
        return output
