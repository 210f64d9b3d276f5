"""Block components: against scikit-learn's, their decoder against a regression, and what they refuse."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from metavoxel.parts.codecs import local_pca
from metavoxel.parts.codecs.blocks import to_blocks
from metavoxel.parts.codecs.local_pca import LocalPCASpec
from metavoxel.rng import Rng

SHAPES = {"volume": (1, 8, 12, 8), "picture": (2, 16, 12)}


def images(shape, rows=12, key="images"):
    """Smooth images, so that neighbouring blocks are correlated."""
    found = Rng.for_rows(rows, key, *shape).normal((rows, *shape))
    for axis in range(2, found.ndim):
        found = found + found.roll(1, axis) + found.roll(2, axis)
    return 0.5 + 0.05 * found


def fitted(shape, **settings):
    values = images(shape)
    codec = LocalPCASpec(**settings).build(shape)
    codec.fit(lambda: values.split(5))
    return codec, values


def rows_of(x, factor):
    return to_blocks(x, factor).flatten(1, 2).movedim(1, -1).flatten(0, -2).double().numpy()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("channels", [1, 5, 9])
def test_reconstructions_of_unseen_images_are_those_of_principal_components(shape, channels):
    """Without overlap, as scikit-learn's of the blocks less the mean image."""
    codec, values = fitted(shape, channels=channels, overlap=False)
    oracle = PCA(channels).fit(rows_of(values - values.mean(0), 4))
    unseen = images(shape, key="unseen")
    deviations = rows_of(unseen - values.mean(0), 4)
    expected = oracle.inverse_transform(oracle.transform(deviations)) - deviations
    error = codec.decode(codec.encode(unseen).mean) - unseen
    np.testing.assert_allclose(rows_of(error, 4), expected, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_overlapping_decoder_is_a_regression_on_neighbouring_codes(shape, monkeypatch):
    monkeypatch.setattr(local_pca, "RIDGES", (1e-9,))
    values = images(shape, rows=120)
    codec = LocalPCASpec(channels=2).build(shape)
    codec.fit(lambda: values.split(8))
    axes = len(shape) - 1
    code = torch.nn.functional.pad(codec.encode(values).mean, (1, 1) * axes)
    near = torch.nn.functional.unfold(code, 3).movedim(1, -1).flatten(0, 1) if axes == 2 else _unfolded(code)
    near, blocks = near.double().numpy(), rows_of(values - values.mean(0), 4)
    expected = LinearRegression(fit_intercept=False).fit(near, blocks).predict(near)
    decoded = rows_of(codec.decode(codec.encode(values).mean) - values.mean(0), 4)
    np.testing.assert_allclose(decoded, expected, atol=1e-4 * blocks.std())


def _unfolded(code):
    parts = code.unfold(2, 3, 1).unfold(3, 3, 1).unfold(4, 3, 1)
    return parts.movedim(1, 4).flatten(0, 3).flatten(1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("channels", [2, 6])
def test_overlap_reduces_the_error_of_unseen_images(shape, channels):
    values, unseen, errors = images(shape, rows=120), images(shape, key="unseen", rows=30), []
    for overlap in (True, False):
        codec = LocalPCASpec(channels=channels, overlap=overlap).build(shape)
        codec.fit(lambda: values.split(8))
        errors.append(float((codec.decode(codec.encode(unseen).mean) - unseen).square().mean()))
    assert errors[0] < errors[1]


def test_overlap_of_few_images_is_no_worse():
    """12 images of 12 blocks hardly determine a regression on 54 numbers; its ridge is large."""
    (shape, unseen), errors = (SHAPES["volume"], images(SHAPES["volume"], key="unseen", rows=30)), []
    for overlap in (True, False):
        codec, _ = fitted(shape, channels=2, overlap=overlap)
        errors.append(float((codec.decode(codec.encode(unseen).mean) - unseen).square().mean()))
    assert errors[0] < 1.01 * errors[1]


def test_as_many_channels_as_voxels_are_lossless():
    codec, values = fitted((1, 8, 8), downsampling=2, channels=4)
    torch.testing.assert_close(codec.decode(codec.encode(values).mean), values, rtol=0, atol=1e-5)
    assert codec.tolerance < float("inf") and codec.decoder.shape[2:] == (1, 1), "nothing is left for an overlap"


@given(st.data())
def test_a_mask_hides_the_cells_of_its_blocks_alone(data):
    shape = data.draw(st.sampled_from(list(SHAPES.values())))
    codec, values = fitted(shape, channels=3)
    voxel = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    known = torch.ones_like(values, dtype=torch.bool)
    known[(slice(None), *voxel)] = False
    partial, reliable = codec.encode_partial(torch.where(known, values, torch.nan), known)
    expected = torch.ones(len(values), 1, *codec.code_shape[1:], dtype=torch.bool)
    expected[(slice(None), 0, *(place // 4 for place in voxel[1:]))] = False
    assert torch.equal(reliable, expected)
    whole = codec.encode(values).mean
    assert torch.equal(torch.where(reliable, partial.mean, 0), torch.where(reliable, whole, 0))


def test_codes_are_in_units_of_the_images_standard_deviation():
    """So that the squared error of a code is that of the image, as far as the components represent it."""
    codec, values = fitted((1, 8, 8), downsampling=2, channels=4)
    codes = codec.encode(values).mean.flatten(1)
    torch.testing.assert_close(codes.square().mean(), torch.tensor(1.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        torch.cdist(codes, codes) * codec.scale, torch.cdist(*[values.flatten(1)] * 2), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "shape", "reason"),
    [
        ({"channels": 16}, (1, 8, 8), None),
        ({"channels": 64}, (1, 8, 8, 8), None),
        ({"channels": 17}, (1, 8, 8), "17 channels are more than the 16 voxels of a block of 4x4; use 'channels: 16'"),
        ({"channels": 65}, (1, 8, 8, 8), "65 channels are more than the 64 voxels of a block of 4x4x4"),
        ({"channels": 32}, (2, 8, 8), None),
        ({"channels": 300, "downsampling": 8}, (1, 8, 8, 8), "use 'overlap: false' or at most 151 channels"),
        ({"channels": 300, "downsampling": 8, "overlap": False}, (1, 8, 8, 8), None),
    ],
)  # fmt: skip
def test_settings_that_do_not_suit_the_image(settings, shape, reason):
    found = LocalPCASpec(**settings).misfit(shape)
    assert (found is None) == (reason is None)
    assert reason is None or reason in found
