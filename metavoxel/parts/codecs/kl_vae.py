"""KL-regularised autoencoder of images (MetaVoxel 3.1; Rombach et al. 2022, extended to 3-D)."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator, model_validator
from torch import Tensor

from metavoxel.errors import Problem, RunError
from metavoxel.parts.codecs.base import AbstractCodecSpec, AbstractLearnedCodec, CodecTraining, Encoded
from metavoxel.parts.codecs.block_components import fit_block_components, fit_neighbour_decoder
from metavoxel.parts.codecs.blocks import channel_spread, known_blocks, spread, surrounded
from metavoxel.parts.codecs.kl_vae_losses import MedicalNetDistance, PatchAdversary, gradient_distance
from metavoxel.parts.codecs.kl_vae_network import ResidualAutoencoder
from metavoxel.parts.codecs.kl_vae_weights import OWN, PublishedSettings, mismatch, published_weights, read_weights
from metavoxel.parts.codecs.tiles import Tiling, describe_excess, memory_of, random_patches, tiled
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
        super().__init__()
        self._spec, self._is_fitted = spec, False
        plan = CodecTraining(spec.steps, spec.batch_size, spec.learning_rate)
        self.training_plan = None if spec.weights else plan
        self._tiling = None
        if spec.tile is not None:
            self._tiling = Tiling(spec.tile // spec.downsampling, spec.tile_overlap // spec.downsampling)
        grid = tuple(size // spec.downsampling for size in data_shape[1:])
        self.code_shape = (spec.latent_channels, *grid)
        self.autoencoder = ResidualAutoencoder(
            axes=len(grid),
            images=data_shape[0],
            downsampling=spec.downsampling,
            block=spec.block,
            latent_channels=spec.latent_channels,
            channels=spec.channels,
            residual_blocks=spec.residual_blocks,
            groups=spec.norm_groups,
            upsampling=spec.upsampling,
            linear_path=spec.linear_path,
        )
        self._perceptual: MedicalNetDistance | None = None
        self.adversary: PatchAdversary | None = None
        if spec.adversarial_weight:
            sizes = [spec.crop or size for size in data_shape[1:]]
            self.adversary = PatchAdversary(
                data_shape[0], sizes, weight=spec.adversarial_weight, start=spec.adversarial_start
            )
        channels = (spec.latent_channels, *[1] * len(grid))
        self.register_buffer("mean_image", torch.zeros(data_shape))
        self.register_buffer("contrast", torch.ones(()))
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_scale", torch.ones(channels))
        self.mean_image: Tensor
        self.contrast: Tensor
        self.latent_mean: Tensor
        self.latent_scale: Tensor

    def prepare(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        """Compute mean image and standard deviation around it, and start from the components of the blocks."""
        center, scale = spread(batches)
        self.mean_image.copy_(center)
        self.contrast.copy_(scale)
        if self._spec.perceptual_features is not None:
            self._perceptual = MedicalNetDistance(self._spec.perceptual_features)
        if self._spec.linear_path:
            components = fit_block_components(self._blocks(batches), self._spec.latent_channels)
            self.autoencoder.start_from(components.encoder, fit_neighbour_decoder(self._blocks(batches), components))

    def _blocks(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> Iterator[Float[Tensor, "b v *r"]]:
        for batch in batches():
            yield self.autoencoder.blocks(self._standardised(batch))

    def _standardised(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        return (x - self.mean_image) / self.contrast

    def losses(self, x: Float[Tensor, "b c *s"], *, rng: Rng) -> dict[str, Float[Tensor, ""]]:
        """Return the standardised absolute (or squared) error and the weighted KL divergence to a standard normal.

        The KL divergence is averaged over latent cells rather than summed, so that its relative weight does not depend
        on image size. Perceptual and adversarial terms are further entries, if they have a weight.
        """
        both = torch.cat([x, self.mean_image.expand_as(x)], 1)
        if self._spec.crop is not None:
            both = random_patches(both, rng.fork("crop"), size=self._spec.crop, factor=self._spec.downsampling)
        data, center = both.chunk(2, 1)
        image = (data - center) / self.contrast
        mean, sd = self.autoencoder.encode(image)
        latent = mean + sd * rng.normal(tuple(mean.shape), like=mean, dtype=mean.dtype)
        reconstruction = self.autoencoder.decode(latent).float()
        mean, sd = mean.float(), sd.float()
        kl = 0.5 * (mean.square() + sd.square() - 2 * sd.clamp_min(1e-6).log() - 1).mean()
        squared, error = self._spec.error == "squared", reconstruction - image
        fit = {"l2": error.square().mean()} if squared else {"l1": error.abs().mean()}
        terms = {**fit, "kl": self._spec.kl_weight * kl}
        if self._spec.perceptual_weight:
            restored = reconstruction * self.contrast + center
            measure = self._perceptual
            distance = gradient_distance(reconstruction, image) if measure is None else measure(restored, data)
            terms["perceptual"] = self._spec.perceptual_weight * distance
        return terms if self.adversary is None else {**terms, **self.adversary(image, reconstruction)}

    def load(self, path: Path) -> None:
        """Load a run's codec whole, or the autoencoder of a published file, whose latents ``fit`` then standardises.

        A published autoencoder models the image itself, with intensities in [0, 1].

        Raises:
            RunError: a file that cannot be read safely, or weights of another architecture.
        """
        weights = read_weights(path)
        if OWN not in weights:
            chosen = PublishedSettings(**self._spec.model_dump(include=set(PublishedSettings._fields)))
            network = self.autoencoder.network
            network.load_state_dict(published_weights(path, weights, network.state_dict(), chosen))
            return
        if what := mismatch(weights, self.state_dict()):
            raise RunError(Problem(f"codec weights {path}", f"do not fit this schema's codec: the file {what}"))
        self.load_state_dict(weights)
        self._is_fitted = True

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        """Standardise the latents over the whole training set, including the posterior variance.

        A codec that was loaded from a run is left as it is.
        """
        if self._is_fitted:
            return
        center, scale = channel_spread(self._posterior(batch) for batch in batches())
        self.latent_mean.copy_(center.reshape(self.latent_mean.shape))
        self.latent_scale.copy_(scale.reshape(self.latent_scale.shape))

    def forecast(self, shape: Sequence[int]) -> int:
        """Return the memory of encoding and decoding one image of this grid at once, in bytes."""
        return memory_of(shape, whole=self.mean_image.numel(), values=self.autoencoder.values_per_voxel())

    def memory_problem(self, available: int) -> str | None:
        """Describe images, or tiles, that do not fit, with the largest tile that does."""
        shape, least = self.mean_image.shape[1:], self._spec.tile_overlap + self._spec.downsampling
        sizes = range(least + -least % self._spec.downsampling, max(shape), self._spec.downsampling)
        return describe_excess(self.forecast, shape, self._spec.tile, sizes, available)

    def _posterior(self, x: Float[Tensor, "b c *s"]) -> tuple[Tensor, Tensor]:
        posterior = self._mapped(lambda part: torch.cat(self.autoencoder.encode(part), 1), self._standardised(x))
        mean, sd = posterior.chunk(2, 1)
        return mean, sd

    def _mapped(self, function: Callable[[Tensor], Tensor], x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *t"]:
        """Apply encoder or decoder without gradients, in tiles if the images are larger than a tile."""
        grid = self.code_shape[1:]
        with torch.no_grad():
            if self._tiling is None or self._tiling.count(grid) == 1:
                return function(x).float()
            return tiled(lambda part: function(part).float(), x, grid=grid, tiling=self._tiling)

    def encode(self, x: Float[Tensor, "b c *s"]) -> Encoded:
        mean, sd = self._posterior(x)
        return Encoded((mean - self.latent_mean) / self.latent_scale, sd / self.latent_scale)

    def decode(self, z: Code) -> Float[Tensor, "b k *d"]:
        image = self._mapped(self.autoencoder.decode, z * self.latent_scale + self.latent_mean)
        return image * self.contrast + self.mean_image

    def encode_partial(self, x: Float[Tensor, "b c *d"], known: Bool[Tensor, "b c *d"]) -> tuple[Encoded, Mask]:
        """Fill unknown voxels with the training mean; a cell is reliable if it and its neighbours are all known.

        The encoder sees further than that, so codes of known voxels depend on the fill value.
        Training uses the same fill, and decoded images are composited with the known voxels.
        """
        filled = torch.where(known, x, self.mean_image)
        return self.encode(filled), surrounded(known_blocks(known, self._spec.downsampling))


class KLVAESpec(AbstractCodecSpec):
    """Settings of a KL-regularised autoencoder: MONAI's ``AutoencoderKL`` beside a linear path."""

    support: ClassVar[str] = "real"

    type: Literal["kl_vae"] = "kl_vae"
    downsampling: Literal[2, 4, 8, 16] = Field(4, description="image voxels per latent cell along each axis")
    latent_channels: PositiveInt = Field(8, description="channels of the latent")
    channels: tuple[PositiveInt, ...] = Field(
        (),
        description="channels of each level of the network, each at half the resolution of the one before, the last at "
        "that of the latent. With fewer than log2(downsampling) + 1 levels, the first works on blocks of voxels, which "
        "is faster. By default one level of 64, and a level of 128 for each doubling of 'downsampling' beyond 4",
    )
    residual_blocks: PositiveInt = Field(1, description="residual blocks per level")
    norm_groups: int = Field(
        0,
        ge=0,
        description="groups of group normalisation, over the whole image; 0 normalises each cell over its channels, so "
        "that tiles of an image have the codes of the whole image",
    )
    upsampling: Literal["nearest", "linear"] = Field(
        "nearest", description="interpolation in the decoder, between levels; 'linear' in MAISI's network"
    )
    linear_path: bool = Field(
        True,
        description="add linear convolutions beside encoder and decoder that start as the principal components of "
        "blocks, and the network's output at 0; so step 0 is the closed-form linear code",
    )
    kl_weight: float = Field(1e-3, ge=0, description="weight of the KL term, which is a mean over latent cells")
    error: Literal["absolute", "squared"] = Field(
        "absolute",
        description="reconstruction loss. 'absolute' preserves edges and estimates the median of a voxel, which omits "
        "what few images show there, such as a lesion; 'squared' estimates the mean",
    )
    perceptual_weight: float = Field(
        0,
        ge=0,
        description="weight of the perceptual distance; without 'perceptual_features', of image gradients at "
        "three scales",
    )
    perceptual_features: Path | None = Field(
        None,
        description="file with the weights of MedicalNet's ResNet-10, for 3-D images (safetensors, or a torch file "
        "of tensors alone)",
    )
    adversarial_weight: float = Field(0, ge=0, description="weight of the loss against a discriminator of patches")
    adversarial_start: int = Field(500, ge=0, description="steps before the discriminator is trained and used")
    steps: PositiveInt = Field(1000, description="optimiser steps")
    batch_size: PositiveInt = Field(2, description="images per step")
    learning_rate: PositiveFloat = Field(1e-3, description="peak learning rate of AdamW")
    crop: PositiveInt | None = Field(
        None, description="voxels along each axis of the random patches that it is trained on; by default whole images"
    )
    tile: PositiveInt | None = Field(
        None,
        description="voxels along each axis of the tiles in which larger images are encoded and decoded, to bound the "
        "memory; by default whole images",
    )
    tile_overlap: PositiveInt = Field(
        32, description="voxels shared by neighbouring tiles, of which the outer 3/8 of each are not used"
    )
    weights: Path | None = Field(
        None,
        description="file to use instead of training: a fitted codec (a run's codecs/NAME.safetensors), or a published "
        "AutoencoderKL (names of MONAI, MONAI Generative or MAISI; safetensors, or a torch file of tensors alone)",
    )

    @field_validator("weights", "perceptual_features")
    @classmethod
    def _from_the_schema(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        """Resolve a relative path against the folder of the schema, if known."""
        return Path(os.path.abspath(info.context["folder"] / path)) if path and info.context else path

    @model_validator(mode="after")
    def _levels(self) -> Self:
        most = int(math.log2(self.downsampling)) + 1
        if not self.channels:
            object.__setattr__(self, "channels", (64, *[128] * (most - 3)))
        elif (count := len(self.channels)) > most:
            raise ValueError(f"downsampling {self.downsampling} has 1 to {most} levels of channels, not {count}")
        if self.norm_groups and any(width % self.norm_groups for width in self.channels):
            raise ValueError(f"norm_groups {self.norm_groups} must divide all channels, {list(self.channels)}")
        return self

    @model_validator(mode="after")
    def _tiles(self) -> Self:
        overlap = self.tile_overlap if self.tile is not None else None
        for name, size in (("crop", self.crop), ("tile", self.tile), ("tile_overlap", overlap)):
            if size is not None and size % self.downsampling:
                raise ValueError(f"{name} {size} must be a multiple of downsampling {self.downsampling}")
        if self.tile is not None and self.tile_overlap >= self.tile:
            raise ValueError(f"tile_overlap {self.tile_overlap} must be less than tile {self.tile}")
        return self

    @property
    def block(self) -> int:
        """Voxels along each axis of the blocks on which the first level works; 1 for the voxels themselves."""
        return self.downsampling // 2 ** (len(self.channels) - 1)

    def grid_multiple(self) -> int:
        return self.downsampling

    def build(self, data_shape: tuple[int, ...]) -> KLVAECodec:
        if self.perceptual_features is not None and len(data_shape) != 4:
            raise ValueError("'perceptual_features' are of 3-D images; omit them for the distance of image gradients")
        codec = KLVAECodec(self, data_shape)
        if self.weights is not None:
            codec.load(self.weights)
        return codec
