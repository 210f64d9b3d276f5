"""The built-in types, registered as a third party would."""

from collections.abc import Sequence

from metavoxel.adapters.base import AbstractAdapterSpec
from metavoxel.adapters.grid import GridAdapterSpec, GridSummaryAdapterSpec
from metavoxel.adapters.painted import PaintedAdapterSpec
from metavoxel.adapters.token import TokenAdapterSpec
from metavoxel.backbones.base import AbstractBackboneSpec
from metavoxel.backbones.mlp import MLPSpec
from metavoxel.backbones.transformer import TransformerSpec
from metavoxel.backbones.unet import UNetSpec
from metavoxel.codecs.base import AbstractCodecSpec
from metavoxel.codecs.identity import IdentitySpec
from metavoxel.codecs.kl_vae import KLVAESpec
from metavoxel.codecs.linear import LinearSpec
from metavoxel.codecs.onehot import OneHotSpec
from metavoxel.codecs.quantile import QuantileSpec
from metavoxel.hookspecs import hookimpl
from metavoxel.kernels.base import AbstractKernel
from metavoxel.kernels.d3pm import UniformD3PMKernel
from metavoxel.kernels.gaussian import GaussianKernel
from metavoxel.variables.base import AbstractVariableSpec
from metavoxel.variables.categorical import CategoricalSpec
from metavoxel.variables.continuous import ContinuousSpec
from metavoxel.variables.image import ImageSpec
from metavoxel.variables.labelmap import LabelMapSpec

metavoxel_api = 1


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """Images, label maps, numbers, labels."""
    return [ImageSpec, LabelMapSpec, ContinuousSpec, CategoricalSpec]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """Autoencoder, identity, linear map, normal quantiles, one-hot."""
    return [KLVAESpec, IdentitySpec, LinearSpec, QuantileSpec, OneHotSpec]


@hookimpl
def metavoxel_kernels() -> Sequence[type[AbstractKernel]]:
    """Gaussian and uniform discrete diffusion."""
    return [GaussianKernel, UniformD3PMKernel]


@hookimpl
def metavoxel_adapters() -> Sequence[type[AbstractAdapterSpec]]:
    """Grid, with and without its summary; token; painted."""
    return [GridAdapterSpec, GridSummaryAdapterSpec, TokenAdapterSpec, PaintedAdapterSpec]


@hookimpl
def metavoxel_backbones() -> Sequence[type[AbstractBackboneSpec]]:
    """U-Net, transformer and residual layers."""
    return [UNetSpec, TransformerSpec, MLPSpec]
