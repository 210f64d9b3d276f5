"""The network of the KL autoencoder: MONAI's ``AutoencoderKL`` on blocks of voxels, beside a linear path.

    mean(x) = A x + f(x),    image(z) = B z + g(z),                                                              (1)

A and B are linear convolutions at the resolution of the latent, on the voxels of its blocks (space to depth, as in the
residual autoencoding of Chen et al. 2024, arXiv:2410.10733). They start as the principal components of blocks, and the
regression of a block on the codes around it. The last layers of the encoder f and the decoder g of MONAI start at zero,
so that step 0 is the closed-form linear code.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from metavoxel.parts.codecs.blocks import from_blocks, to_blocks
from metavoxel.parts.convolutions import convolution, with_right_gradients
from metavoxel.typing import Code

INITIAL_SD = 0.05
"""Standard deviation of the code at step 0, where its mean has variance 1."""


class ChannelNorm(nn.Module):
    """Normalisation of each cell over its channels (Ba et al. 2016), with scale and offset per channel. Final.

    It uses the cell alone, so that a tile of an image has the values of the whole image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        normal = functional.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6)
        return normal.movedim(-1, 1)


class ResidualAutoencoder(nn.Module):
    """Autoencoder of images (b, images, *d) as Gaussian latents (b, latent_channels, *d / downsampling). Final.

    Args:
        axes: 2 or 3.
        images: channels of the data.
        downsampling: voxels per latent cell along each axis.
        block: voxels along each axis of the blocks on which MONAI's network works; 1 for the voxels themselves.
        latent_channels: channels of the latent.
        channels: channels per level of the network, log2(downsampling / block) + 1 numbers.
        residual_blocks: residual blocks per level.
        groups: groups of the network's group normalisation; 0 for :class:`ChannelNorm`.
        upsampling: interpolation before the decoder's convolutions.
        linear_path: whether A and B of eq. (1) exist.
    """

    def __init__(
        self,
        *,
        axes: int,
        images: int,
        downsampling: int,
        block: int,
        latent_channels: int,
        channels: Sequence[int],
        residual_blocks: int,
        groups: int,
        upsampling: Literal["nearest", "linear"],
        linear_path: bool,
    ) -> None:
        from monai.networks.nets import AutoencoderKL  # takes seconds, which a table need not wait for

        super().__init__()
        self._block, self._downsampling, self._images = block, downsampling, images
        self._axes, self._channels = axes, tuple(channels)
        self.network = AutoencoderKL(
            spatial_dims=axes,
            in_channels=images * block**axes,
            out_channels=images * block**axes,
            channels=channels,
            num_res_blocks=residual_blocks,
            latent_channels=latent_channels,
            norm_num_groups=groups or 1,
            attention_levels=(False,) * len(channels),
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        if not groups:
            _replace_norms(self.network)
        if upsampling == "linear":
            _interpolate_linearly(self.network, axes)
        with_right_gradients(self.network)
        self.linear_encoder: nn.Module | None = None
        self.linear_decoder: nn.Module | None = None
        if linear_path:
            voxels = images * downsampling**axes
            self.linear_encoder = convolution(axes, voxels, latent_channels, 3, padding=1)
            self.linear_decoder = convolution(axes, latent_channels, voxels, 3, padding=1)

    def blocks(self, x: Float[Tensor, "b k *d"]) -> Float[Tensor, "b v *r"]:
        """Return the voxels of the block of each latent cell, of all images."""
        return to_blocks(x, self._downsampling).flatten(1, 2)

    @torch.no_grad()
    def start_from(self, encoder: Float[Tensor, "c v"], decoder: Float[Tensor, "v c *n"]) -> None:
        """Set the linear path to a code of each block alone and to its decoder, and the network's outputs to zero."""
        assert self.linear_encoder is not None and self.linear_decoder is not None
        *_, last = self.network.decoder.get_submodule("blocks").children()
        zero = (self.network.quant_conv_mu, self.network.quant_conv_log_sigma, last)
        for layer in (self.linear_encoder, self.linear_decoder, *zero):
            for parameter in layer.parameters():
                parameter.zero_()
        kernel = self.linear_encoder.get_parameter("weight")
        kernel.flatten(2)[:, :, kernel[0, 0].numel() // 2] = encoder.to(kernel)
        self.linear_decoder.get_parameter("weight").copy_(decoder)
        self.network.quant_conv_log_sigma.get_parameter("conv.bias").fill_(2 * math.log(INITIAL_SD))

    def values_per_voxel(self) -> float:
        """Return the size of the largest tensor in a forward pass, in numbers per voxel of an image."""
        widths = [(level, width) for level, width in enumerate(self._channels)]
        # The decoder has the channels of the next level until the first residual block of a level.
        widths += [(level, width) for level, width in enumerate(self._channels[1:])]
        return max(width / (self._block * 2**level) ** self._axes for level, width in widths)

    def encode(self, x: Float[Tensor, "b k *d"]) -> tuple[Code, Code]:
        """Return mean and standard deviation of the latent."""
        mean, sd = self.network.encode(to_blocks(x, self._block).flatten(1, 2))
        if self.linear_encoder is not None:
            mean = mean + self.linear_encoder(self.blocks(x))
        return mean, sd

    def decode(self, z: Code) -> Float[Tensor, "b k *d"]:
        """Return the image of a latent."""
        image = self._image(self.network.decode(z), self._block)
        if self.linear_decoder is not None:
            image = image + self._image(self.linear_decoder(z), self._downsampling)
        return image

    def _image(self, blocks: Float[Tensor, "b v *r"], factor: int) -> Float[Tensor, "b k *d"]:
        return from_blocks(blocks.unflatten(1, (self._images, -1)), factor)


def _replace_norms(module: nn.Module) -> None:
    """Replace every group normalisation by :class:`ChannelNorm`."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.GroupNorm):
            module.register_module(name, ChannelNorm(child.num_channels))
        else:
            _replace_norms(child)


def _interpolate_linearly(module: nn.Module, axes: int) -> None:
    """Let every nearest-neighbour interpolation be linear, as MAISI's decoder has it."""
    for child in module.modules():
        if isinstance(child, nn.Upsample):
            child.mode = {2: "bilinear", 3: "trilinear"}[axes]
            child.align_corners = False
