"""KL-regularised autoencoder of images (MetaVoxel 3.1; Rombach et al. 2022, extended to 3-D)."""

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator, model_validator
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from metavoxel.errors import RunError
from metavoxel.parts.codecs.base import AbstractCodecSpec, AbstractLearnedCodec, CodecTraining, Encoded
from metavoxel.rng import Rng
from metavoxel.typing import Code, Mask


class KLVAECodec(AbstractLearnedCodec):
    """Codec of images (b, k, *d) as latents (b, latent_channels, *d / downsampling). Final.

    The autoencoder models the image minus the training mean, which in a small cohort explains most of the image.
    Latents are standardised to mean 0 and variance 1 per channel over the whole training set.
    """

    support = "real"
    tolerance = math.inf

    def __init__(self, spec: "KLVAESpec", data_shape: tuple[int, ...]) -> None:
        from monai.networks.nets import AutoencoderKL  # takes seconds, which a table need not wait for

        super().__init__()
        self._spec = spec
        plan = CodecTraining(spec.steps, spec.batch_size, spec.learning_rate)
        self.training_plan = None if spec.weights else plan
        grid = tuple(size // spec.downsampling for size in data_shape[1:])
        self.code_shape = (spec.latent_channels, *grid)
        levels = len(spec.channels)
        self.autoencoder = AutoencoderKL(
            spatial_dims=len(grid),
            in_channels=data_shape[0],
            out_channels=data_shape[0],
            channels=spec.channels,
            num_res_blocks=spec.residual_blocks,
            latent_channels=spec.latent_channels,
            norm_num_groups=math.gcd(8, *spec.channels),
            attention_levels=(False,) * levels,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        self.register_buffer("mean_image", torch.zeros(data_shape))
        self.register_buffer("contrast", torch.ones(()))
        self.register_buffer("latent_mean", torch.zeros(spec.latent_channels, *[1] * len(grid)))
        self.register_buffer("latent_scale", torch.ones(spec.latent_channels, *[1] * len(grid)))
        self.mean_image: Tensor
        self.contrast: Tensor
        self.latent_mean: Tensor
        self.latent_scale: Tensor

    def prepare(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        """Compute the mean image of the training rows and the standard deviation around it."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for batch in batches():
            count += len(batch)
            total = total + batch.double().sum(0)
            squares = squares + batch.double().square().sum(0)
        mean = total / count
        self.mean_image.copy_(mean)
        variance = (squares / count - mean.square()).mean()
        self.contrast.copy_(variance.clamp_min(1e-12).sqrt())

    def losses(self, x: Float[Tensor, "b c *s"], *, rng: Rng) -> dict[str, Float[Tensor, ""]]:
        """Return the standardised absolute (or squared) error and the weighted KL divergence to a standard normal.

        The KL divergence is averaged over latent cells rather than summed, so that its relative weight does not depend
        on image size. Further terms (perceptual, adversarial) are further entries.
        """
        image = (x - self.mean_image) / self.contrast
        mean, sd = self.autoencoder.encode(image)
        latent = mean + sd * rng.normal(tuple(mean.shape), like=mean, dtype=mean.dtype)
        reconstruction = self.autoencoder.decode(latent).float()
        mean, sd = mean.float(), sd.float()
        kl = 0.5 * (mean.square() + sd.square() - 2 * sd.clamp_min(1e-6).log() - 1).mean()
        squared, error = self._spec.error == "squared", reconstruction - image
        fit = {"l2": error.square().mean()} if squared else {"l1": error.abs().mean()}
        return {**fit, "kl": self._spec.kl_weight * kl}

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        """Standardise the latents over the whole training set, including the posterior variance."""
        axes = (0, *range(2, 2 + len(self.code_shape) - 1))
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for batch in batches():
            mean, sd = self._posterior(batch)
            count += mean.numel() // mean.shape[1]
            total = total + mean.double().sum(axes)
            squares = squares + (mean.double().square() + sd.double().square()).sum(axes)
        center = total / count
        scale = (squares / count - center.square()).clamp_min(1e-12).sqrt()
        self.latent_mean.copy_(center.reshape(self.latent_mean.shape))
        self.latent_scale.copy_(scale.reshape(self.latent_scale.shape))

    def _posterior(self, x: Float[Tensor, "b c *s"]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            mean, sd = self.autoencoder.encode((x - self.mean_image) / self.contrast)
        return mean.float(), sd.float()

    def encode(self, x: Float[Tensor, "b c *s"]) -> Encoded:
        mean, sd = self._posterior(x)
        return Encoded((mean - self.latent_mean) / self.latent_scale, sd / self.latent_scale)

    def decode(self, z: Code) -> Float[Tensor, "b k *d"]:
        with torch.no_grad():
            image = self.autoencoder.decode(z * self.latent_scale + self.latent_mean).float()
        return image * self.contrast + self.mean_image

    def encode_partial(self, x: Float[Tensor, "b c *d"], known: Bool[Tensor, "b c *d"]) -> tuple[Encoded, Mask]:
        """Fill unknown voxels with the training mean; a cell is reliable if it and its neighbours are all known.

        The encoder is not local (its normalisation is global), so codes of known voxels depend on the fill value.
        Training uses the same fill, and decoded images are composited with the known voxels.
        """
        filled = torch.where(known, x, self.mean_image)
        factor = self._spec.downsampling
        pool = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[len(self.code_shape) - 1]
        unknown = (~known).any(1, keepdim=True).float()
        near_unknown = pool(pool(unknown, factor, factor), 3, 1, 1)
        return self.encode(filled), near_unknown < 0.5


class KLVAESpec(AbstractCodecSpec):
    """Settings of a KL-regularised autoencoder (MONAI's ``AutoencoderKL``), trained before the joint model."""

    support: ClassVar[str] = "real"

    type: Literal["kl_vae"] = "kl_vae"
    downsampling: Literal[2, 4, 8, 16] = Field(4, description="image voxels per latent cell along each axis")
    latent_channels: PositiveInt = Field(8, description="channels of the latent")
    channels: tuple[PositiveInt, ...] = Field(
        (), description="channels per level, log2(downsampling) + 1 values; by default 16, doubling up to 64"
    )
    residual_blocks: PositiveInt = Field(1, description="residual blocks per level")
    kl_weight: float = Field(1e-3, ge=0, description="weight of the KL term, which is a mean over latent cells")
    error: Literal["absolute", "squared"] = Field(
        "absolute",
        description="reconstruction loss. 'absolute' preserves edges and estimates the median of a voxel, which omits "
        "what few images show there, such as a lesion; 'squared' estimates the mean",
    )
    steps: PositiveInt = Field(1000, description="optimiser steps")
    batch_size: PositiveInt = Field(2, description="images per step")
    learning_rate: PositiveFloat = Field(1e-3, description="peak learning rate of AdamW")
    weights: Path | None = Field(
        None,
        description="safetensors file of a fitted codec (a run's codecs/NAME.safetensors) to use instead of training",
    )

    @field_validator("weights")
    @classmethod
    def _from_the_schema(cls, weights: Path | None, info: ValidationInfo) -> Path | None:
        """Resolve a relative path against the folder of the schema, if known."""
        if weights is None or not info.context:
            return weights
        return Path(os.path.abspath(info.context["folder"] / weights))

    @model_validator(mode="after")
    def _one_width_a_level(self) -> Self:
        levels = int(math.log2(self.downsampling)) + 1
        if not self.channels:
            object.__setattr__(self, "channels", tuple(min(16 * 2**level, 64) for level in range(levels)))
        elif len(self.channels) != levels:
            raise ValueError(
                f"downsampling {self.downsampling} needs {levels} channel widths, not {len(self.channels)}"
            )
        return self

    def grid_multiple(self) -> int:
        return self.downsampling

    def build(self, data_shape: tuple[int, ...]) -> KLVAECodec:
        codec = KLVAECodec(self, data_shape)
        if self.weights is not None:
            _load(codec, self.weights)
        return codec


def _load(codec: KLVAECodec, path: Path) -> None:
    try:
        codec.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise RunError(f"codec weights: no file {path}") from None
    except Exception as error:
        raise RunError(f"codec weights {path} do not fit this schema's codec: {error}") from error
