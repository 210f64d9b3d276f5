"""Built-in codecs, adapters, backbones and variable types pass the conformance suites of plugins.

Kernels are tested separately. Sizes are the smallest with every kind of layer.
"""

import nibabel
import numpy as np
import pytest
import torch

from metavoxel.parts.adapters.grid import GridAdapterSpec, GridSummaryAdapterSpec
from metavoxel.parts.adapters.painted import PaintedAdapterSpec
from metavoxel.parts.adapters.sequence import SequenceAdapterSpec
from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.backbones.mlp import MLPSpec
from metavoxel.parts.backbones.transformer import TransformerSpec
from metavoxel.parts.backbones.unet import UNetSpec
from metavoxel.parts.codecs.identity import IdentitySpec
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.codecs.local_pca import LocalPCASpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.codecs.quantile import QuantileSpec
from metavoxel.parts.codecs.wavelet import WaveletSpec
from metavoxel.parts.conformance.settings import SETTINGS_CHECKS
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.rng import Rng
from metavoxel.testing import (
    adapter_checks,
    backbone_checks,
    codec_checks,
    feature_checks,
    parametrize_checks,
    run_checks,
    variable_checks,
    with_common,
)


def data(*shape):
    return Rng.for_rows(shape[0], "data").normal(shape)


def codecs():
    ages = 40 + 12 * data(8)
    yield from codec_checks(LinearSpec().build(()), ages)
    yield from codec_checks(LinearSpec(transform="log").build(()), data(8).exp())
    yield from codec_checks(LinearSpec(scale="range", range=(10, 90)).build(()), ages)
    yield from codec_checks(QuantileSpec().build(()), ages)
    yield from codec_checks(QuantileSpec(limits=(0, None)).build(()), torch.tensor([0.0, 0, 0.5, 3, 3, 0, 12, 0.25]))
    yield from codec_checks(OneHotSpec(categories=3).build(()), torch.tensor([0, 1, 2, 1]))
    yield from codec_checks(IdentitySpec().build((1, 6, 5)), 3 + 2 * data(5, 1, 6, 5))
    yield from codec_checks(IdentitySpec().build((2, 4, 4, 4)), data(4, 2, 4, 4, 4))
    yield from codec_checks(WaveletSpec().build((1, 8, 12)), 3 + 2 * data(5, 1, 8, 12))
    yield from codec_checks(WaveletSpec(levels=1).build((2, 4, 4, 6)), data(4, 2, 4, 4, 6))
    yield from codec_checks(LocalPCASpec(channels=3).build((1, 8, 12, 8)), 3 + 2 * data(5, 1, 8, 12, 8))
    yield from codec_checks(LocalPCASpec(downsampling=2, channels=5, overlap=False).build((2, 4, 8)), data(4, 2, 4, 8))


@parametrize_checks(codecs())
def test_codecs(check):
    check.run()


@pytest.mark.parametrize("shape", [(1, 16, 16, 16), (1, 16, 16)], ids=["volume", "picture"])
def test_learned_codec(shape):
    torch.manual_seed(0)
    spec = KLVAESpec(channels=(8, 8, 8), latent_channels=2)
    volumes = Rng.for_rows(4, "volumes").uniform((4, *shape))
    codec = spec.build(shape)
    codec.prepare(lambda: [volumes])
    assert not [result for result in run_checks(codec_checks(codec, volumes)) if not result.ok]


def backbones():
    yield from backbone_checks(TransformerSpec(width=16, heads=2, depth=2).build({}), respects_factors=True)
    yield from backbone_checks(MLPSpec(width=16, depth=2).build({}))
    spec = UNetSpec(channels=(8, 16), head_channels=8, token_width=16)
    yield from backbone_checks(spec.build({"T1w": (4, 4, 4)}))
    yield from backbone_checks(spec.build({"T1w": (4, 4, 4), "picture": (4, 6)}), tokens=2)


@parametrize_checks(backbones())
def test_backbones(check):
    check.run()


@parametrize_checks(
    backbone_checks(UNetSpec(channels=(8, 16), head_channels=8, token_width=16).build({"T1w": (4, 4)}), tokens=0),
    expected_failures={
        "check_gradient_everywhere": "without tokens, cross-attention has one key, so that its weights are constant"
    },
)
def test_unet_without_tokens(check):
    check.run()


PORTS = UNetSpec(channels=(8, 16), token_width=16).build({"grid_4x4x4": (4, 4, 4), "grid_4x6": (4, 6)}).ports


def checks_of(spec, code_shape, kernel=GaussianKernel()):  # noqa: B008 (frozen)
    context = with_common(spec, spec.context(kernel, code_shape, PORTS))
    if context.features is not None:
        yield from feature_checks(context.features, context)
    yield from adapter_checks(spec.build(context), context)


def adapters():
    yield from checks_of(TokenAdapterSpec(), (1,))
    yield from checks_of(TokenAdapterSpec(dropout=0.2), (5,))
    yield from checks_of(TokenAdapterSpec(alike=True), (2,))
    yield from checks_of(GridSummaryAdapterSpec(components=2), (2, 4, 4, 4))
    yield from checks_of(GridAdapterSpec(), (3, 4, 6))
    yield from checks_of(TokenAdapterSpec(), (3,), UniformD3PMKernel())
    yield from checks_of(SequenceAdapterSpec(), (5, 4), UniformD3PMKernel())
    yield from checks_of(SequenceAdapterSpec(), (2, 2, 3))
    yield from checks_of(SequenceAdapterSpec(), (1,))


@parametrize_checks(adapters())
def test_adapters(check):
    check.run()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_painted_adapter(channels):
    reason = "as published, a scalar's time enters the network through the time embedding only"
    expected = {"check_embed_sees_time": reason, "check_embed_sees_observed": reason}
    results = run_checks(checks_of(PaintedAdapterSpec(), (channels,)), expected_failures=expected)
    assert not [result for result in results if not result.ok]


def variables():
    yield from variable_checks(ContinuousSpec(), ["30", "41.5", "-1e1"])
    yield from variable_checks(ContinuousSpec(range=(0, 100), unit="years"), ["30", "41.5", "1e1"])
    yield from variable_checks(ContinuousSpec(transform="log"), ["30", "0.001", "12345.678"])
    yield from variable_checks(ContinuousSpec(valid=(-5, 5)), ["-5", "0", "5.0"])
    yield from variable_checks(
        ContinuousSpec(transform="quantile", valid=(0, 30)), ["0", "0", "2.5", "30", "30.0", "7"]
    )
    yield from variable_checks(ContinuousSpec(transform="quantile", range=(10, 20)), ["11", "12", "19"])
    yield from variable_checks(CategoricalSpec(categories={"male": "1", "female": "2"}), ["1", "2.0", "female"])
    yield from variable_checks(CategoricalSpec(categories=["F", "M", "unknown"], valid=(1, 2)), ["F", "M"])


@parametrize_checks(variables())
def test_variables(check):
    check.run()


@pytest.mark.parametrize("shape", [(12, 10, 8), (12, 10)], ids=["volume", "picture"])
def test_image_variable(tmp_path, shape):
    cells = []
    for index in range(2):
        voxels = Rng.for_rows(1, "image", index).uniform((1, *shape))[0].numpy().astype(np.float32)
        cells.append(str(tmp_path / f"{index}.nii.gz"))
        nibabel.Nifti1Image(voxels.reshape(*shape, *[1] * (3 - len(shape))), np.diag([2.0, 2, 2, 1])).to_filename(
            cells[-1]
        )
    results = run_checks(variable_checks(ImageSpec(path="{image}"), cells))
    assert not [result for result in results if not result.ok]


@pytest.mark.parametrize("labels", [["background", "lesion"], ["outside", "fluid", "grey"]], ids=["two", "three"])
def test_labelmap_variable(tmp_path, labels):
    cells = [str(tmp_path / f"{index}.nii.gz") for index in range(2)]
    for index, cell in enumerate(cells):
        numbers = Rng.for_rows(1, "labels", index).uniform((1, 12, 10, 8))[0].numpy() * len(labels)
        nibabel.Nifti1Image(numbers.astype(np.uint8), np.diag([2.0, 2, 2, 1])).to_filename(cell)
    results = run_checks(variable_checks(LabelMapSpec(labels=labels, path="{map}"), cells))
    assert not [result for result in results if not result.ok]


@pytest.mark.parametrize(
    "spec",
    [
        LinearSpec(), QuantileSpec(), OneHotSpec(), IdentitySpec(), KLVAESpec(), WaveletSpec(),
        LocalPCASpec(), TokenAdapterSpec(), GridAdapterSpec(),
        PaintedAdapterSpec(), TransformerSpec(), MLPSpec(), UNetSpec(),
    ],
    ids=lambda spec: spec.type,
)  # fmt: skip
@pytest.mark.parametrize("check", SETTINGS_CHECKS, ids=lambda check: check.__name__)
def test_settings(spec, check):
    check(spec)
