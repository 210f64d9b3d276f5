"""Discriminative networks of images and a few numbers, of MONAI's parts, each in three sizes.

Every class makes the network of one grid. Small grids leave out what would shrink them to nothing.
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

from metavoxel.comparisons.study import Size


class Ports(NamedTuple):
    """What goes into a network, and what comes out of it."""

    grid: tuple[int, ...]
    """Voxels along each axis, two or three."""
    images: int
    numbers: int
    outputs: int


class AbstractArchitecture(ABC):
    """A way to build networks. The modules take images (b, images, *grid) and numbers (b, numbers)."""

    title: str
    learning_rate: float
    """Peak, of AdamW."""

    @abstractmethod
    def build(self, ports: Ports, size: Size) -> nn.Module:
        """A fresh network; outputs are (b, outputs)."""


def painted(images: Float[Tensor, "b c *s"], numbers: Float[Tensor, "b f"]) -> Float[Tensor, "b d *s"]:
    """The images and, as further channels, each number on every voxel."""
    maps = numbers.reshape(*numbers.shape, *[1] * (images.ndim - 2)).expand(-1, -1, *images.shape[2:])
    return torch.cat([images, maps], 1)


def padded(images: Float[Tensor, "b c *s"], grid: Sequence[int]) -> Float[Tensor, "b c *t"]:
    """The images with zeros after the end of each axis, on a larger grid."""
    ends = [size - here for size, here in zip(grid, images.shape[2:], strict=True)]
    return functional.pad(images, [margin for end in reversed(ends) for margin in (0, end)])


@final
class _Painted(nn.Module):
    """A network of channels alone, of this grid: the numbers are painted on some."""

    def __init__(self, network: nn.Module, grid: Sequence[int]) -> None:
        super().__init__()
        self.network, self._grid = network, tuple(grid)

    def forward(self, images: Float[Tensor, "b c *s"], numbers: Float[Tensor, "b f"]) -> Float[Tensor, "b k"]:
        found = self.network(padded(painted(images, numbers), self._grid))
        output: Tensor = found[0] if isinstance(found, tuple) else found  # MONAI's ViT gives its hidden states too
        return output


class _DenseSize(NamedTuple):
    features: int
    growth: int
    blocks: tuple[int, ...]


@final
class DenseNetArchitecture(AbstractArchitecture):
    """DenseNet (Huang et al. 2017, "Densely connected convolutional networks"); 'full' is DenseNet121."""

    title, learning_rate = "DenseNet, the others as input channels", 1e-3
    _sizes = MappingProxyType(
        {
            "small": _DenseSize(16, 12, (2, 4, 6, 4)),
            "medium": _DenseSize(32, 16, (4, 8, 12, 8)),
            "full": _DenseSize(64, 32, (6, 12, 24, 16)),
        }
    )

    def build(self, ports: Ports, size: Size) -> nn.Module:
        chosen = self._sizes[size]
        halvings = int(math.log2(math.ceil(min(ports.grid) / 4)))  # those that the stem leaves room for
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
    """Most patches: they are as small as this allows."""


@final
class ViTArchitecture(AbstractArchitecture):
    """Vision transformer (Dosovitskiy et al. 2020, "An image is worth 16x16 words"); 'full' is ViT-B."""

    title, learning_rate = "ViT, the others as input channels", 3e-4
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
"""Voxels along an axis that leave the deepest level, a thirty-second, more than one."""


class _ResNetSize(NamedTuple):
    layers: tuple[int, ...]
    widths: tuple[int, ...]


@final
class BraidArchitecture(AbstractArchitecture):
    """A ResNet's features beside the numbers, in a head of two layers (BRAID: Gao et al. 2025); 'full' is ResNet18."""

    title, learning_rate = "ResNet, the others beside its features", 1e-3
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
