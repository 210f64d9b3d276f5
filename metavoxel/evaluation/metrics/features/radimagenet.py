"""Features of RadImageNet's ResNet-50, a network trained on radiological images, from a weights file."""

from collections.abc import Mapping
from pathlib import Path
from typing import final

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from metavoxel.errors import Problem, RunError
from metavoxel.evaluation.metrics.features.base import AbstractImageFeatures
from metavoxel.evaluation.store import digest

EPSILON = 1.001e-5
"""Epsilon of batch normalisation, that of the network the weights were converted from."""

MEAN = (0.406, 0.456, 0.485)
"""Means subtracted from the channels (blue, green, red), without division by standard deviations."""

_SHOWN = 3


@final
class RadImageNet(AbstractImageFeatures):
    """ResNet-50 trained on RadImageNet (Mei et al. 2022, Radiology: AI 4(5)), as MAISI's FID uses it.

    Args:
        path: state dictionary of ``radimagenet_resnet50`` in the torch.hub repository Warvito/radimagenet-models, as a
            ``.safetensors`` or torch file (only tensors are unpickled).

    Raises:
        RunError: no such file, not weights, or weights of another network.
    """

    def __init__(self, path: Path) -> None:
        self._network = ResNet50()
        weights = _read(path)
        _check(path, weights, self._network.state_dict())
        self._network.load_state_dict(dict(weights), strict=False)
        self._network.eval()
        self._digest = digest(path)

    @property
    def name(self) -> str:
        return f"radimagenet-resnet50-{self._digest}"

    @property
    def description(self) -> str:
        return (
            f"RadImageNet's ResNet-50 (weights {self._digest}), mean over positions of its last layer, as in MAISI; "
            "values are comparable only for the same weights and image spacing"
        )

    @property
    def size(self) -> int:
        return 2048

    def describe(self, slices: Float[Tensor, "n h w"]) -> Float[Tensor, "n f"]:
        channels = slices[:, None] - slices.new_tensor(MEAN)[:, None, None]
        return self._network(channels).mean((2, 3))


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        what = "no such file of weights; pass one of RadImageNet's ResNet-50, or omit `features` for scattering"
        raise RunError(Problem(f"`features={path}`", what))
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        raise RunError(Problem(f"`features={path}`", f"cannot be read as weights: {_first(error)}")) from None
    except Exception as error:  # the unpickler's error class is in a module that is never imported here
        raise RunError(Problem(f"`features={path}`", f"not a file of weights: {_first(error)}")) from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise RunError(Problem(f"`features={path}`", "is not a state dictionary (names and tensors)"))
    return found


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check(path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    needed = {name: value for name, value in expected.items() if not name.endswith("num_batches_tracked")}
    missing = [name for name in needed if name not in weights]
    surplus = [name for name in weights if name not in expected]
    misshapen = [
        f"{name} {list(weights[name].shape)} where {list(value.shape)} is expected"
        for name, value in needed.items()
        if name in weights and weights[name].shape != value.shape
    ]
    wrong = [
        f"{word} {', '.join(found[:_SHOWN])}{f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else ''}"
        for word, found in (("lacks", missing), ("has unexpected", surplus), ("has", misshapen))
        if found
    ]
    if wrong:
        what = "these weights are not those of RadImageNet's ResNet-50 without its classifier (radimagenet_resnet50)"
        raise RunError(Problem(f"`features={path}`", f"{what}: {'; '.join(wrong)}"))


class Bottleneck(nn.Module):
    """Bottleneck block with the stride in its first convolution and with biases, as in Keras. Final."""

    def __init__(self, channels: int, width: int, stride: int = 1, *, widens: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, stride), nn.BatchNorm2d(width, EPSILON)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width, EPSILON)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1), nn.BatchNorm2d(4 * width, EPSILON)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride), nn.BatchNorm2d(4 * width, EPSILON))
            if widens
            else nn.Identity()
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet50(nn.Module):
    """ResNet-50 (He et al. 2016) as in Keras, without its classifier. Final."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64, EPSILON)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(64, 64, 3, 1)
        self.layer2 = _layer(256, 128, 4, 2)
        self.layer3 = _layer(512, 256, 6, 2)
        self.layer4 = _layer(1024, 512, 3, 2)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048 i j"]:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def _layer(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(channels, width, stride, widens=True), *rest)
