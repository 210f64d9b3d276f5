"""Convolutions, over three axes with gradients that are right in half precision on every CPU.

With AVX-512, PyTorch 2.13 (oneDNN) computes wrong weight gradients in bf16 where the first axis of the grid has at
least two voxels and fewer than the kernel, as at the bottleneck of a U-Net. Zeros after the last voxel continue the
zero padding and do not change the output. Where they make the axis as long as the kernel, the gradients are right.
"""

from typing import TypeVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_Module = TypeVar("_Module", bound=nn.Module)


def convolve_3d(
    x: Float[Tensor, "b c i j k"],
    weight: Float[Tensor, "o c u v w"],
    bias: Float[Tensor, " o"] | None,
    stride: tuple[int, ...] = (1, 1, 1),
    padding: tuple[int, ...] = (1, 1, 1),
) -> Float[Tensor, "b o l m n"]:
    """Convolve with zero padding, as :func:`torch.nn.functional.conv3d`."""
    size, width = x.shape[2], weight.shape[2]
    half = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    if x.device.type != "cpu" or not half or not 1 < size < width:
        return functional.conv3d(x, weight, bias, stride, padding)
    longer = functional.pad(x, (0, 0, 0, 0, 0, width - size))
    outputs = (size + 2 * padding[0] - width) // stride[0] + 1
    return functional.conv3d(longer, weight, bias, stride, padding)[:, :, :outputs]


@final
class Convolution3d(nn.Module):
    """Convolution with the weights of another one, by :func:`convolve_3d`."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self._stride, self._padding = convolution.stride, convolution.padding

    def forward(self, x: Float[Tensor, "b c i j k"]) -> Float[Tensor, "b o l m n"]:
        return convolve_3d(x, self.weight, self.bias, self._stride, self._padding)  # type: ignore[arg-type]


def convolution(axes: int, *args: int, **kwargs: int) -> nn.Module:
    """Return a convolution over 1, 2 or 3 axes, with the arguments of PyTorch's."""
    if axes == 3:
        return Convolution3d(nn.Conv3d(*args, **kwargs))  # type: ignore[arg-type]
    return {1: nn.Conv1d, 2: nn.Conv2d}[axes](*args, **kwargs)  # type: ignore[arg-type]


def with_right_gradients(module: _Module) -> _Module:
    """Replace the convolutions over three axes in a module, whose weights keep their names, and return it.

    Those that differ from plain ones (groups, dilation, other padding than zeros, kernels of one voxel) are kept.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv3d) and _is_plain(child):
                setattr(parent, name, Convolution3d(child))
    return module


def _is_plain(convolution: nn.Conv3d) -> bool:
    return (
        convolution.kernel_size[0] > 1
        and convolution.groups == 1
        and set(convolution.dilation) == {1}
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )
