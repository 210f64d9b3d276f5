"""The built-in types, registered through the same hooks as third-party types."""

from collections.abc import Sequence

from metavoxel.parts.adapters.base import AbstractAdapterSpec
from metavoxel.parts.adapters.grid import GridAdapterSpec, GridSummaryAdapterSpec
from metavoxel.parts.adapters.painted import PaintedAdapterSpec
from metavoxel.parts.adapters.sequence import SequenceAdapterSpec
from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.parts.backbones.mlp import MLPSpec
from metavoxel.parts.backbones.transformer import TransformerSpec
from metavoxel.parts.backbones.unet import UNetSpec
from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.codecs.identity import IdentitySpec
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.codecs.local_pca import LocalPCASpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.codecs.quantile import QuantileSpec
from metavoxel.parts.codecs.wavelet import WaveletSpec
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.plugins.hookspecs import hookimpl

metavoxel_api = 2


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """Image, label map, continuous and categorical variables."""
    return [ImageSpec, LabelMapSpec, ContinuousSpec, CategoricalSpec]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """KL autoencoder, wavelet, block components, identity, linear, quantile (rank-based inverse normal) and one-hot
    codecs."""
    return [KLVAESpec, WaveletSpec, LocalPCASpec, IdentitySpec, LinearSpec, QuantileSpec, OneHotSpec]


@hookimpl
def metavoxel_kernels() -> Sequence[type[AbstractKernel]]:
    """Gaussian and uniform discrete diffusion kernels."""
    return [GaussianKernel, UniformD3PMKernel]


@hookimpl
def metavoxel_adapters() -> Sequence[type[AbstractAdapterSpec]]:
    """Grid, grid with principal components, token, sequence and painted adapters."""
    return [GridAdapterSpec, GridSummaryAdapterSpec, TokenAdapterSpec, SequenceAdapterSpec, PaintedAdapterSpec]


@hookimpl
def metavoxel_backbones() -> Sequence[type[AbstractBackboneSpec]]:
    """U-Net, transformer and residual MLP backbones."""
    return [UNetSpec, TransformerSpec, MLPSpec]
