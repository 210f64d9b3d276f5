"""The wavelet codec: orthogonal, without loss, local; against Haar's coefficients in closed form."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.parts.codecs.wavelet import WaveletSpec
from metavoxel.rng import Rng


@st.composite
def cases(draw):
    levels, axes = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    blocks = draw(st.lists(st.integers(1, 3 if axes == 2 else 2), min_size=axes, max_size=axes))
    return levels, (draw(st.integers(1, 2)), *(size * 2**levels for size in blocks))


def fitted(levels, shape, rows=4):
    images = 0.5 + 0.2 * Rng.for_rows(rows, "images", *shape).normal((rows, *shape))
    codec = WaveletSpec(levels=levels).build(shape)
    codec.fit(lambda: images.split(3))
    return codec, images


@given(cases())
def test_decoding_restores_the_image(case):
    codec, images = fitted(*case)
    code = codec.encode(images)
    assert code.sd is None and code.mean.shape == (len(images), *codec.code_shape)
    assert code.mean[0].numel() == images[0].numel()
    torch.testing.assert_close(codec.decode(code.mean), images, rtol=0, atol=2e-6)


@given(cases())
def test_any_code_is_that_of_its_image(case):
    codec, images = fitted(*case)
    code = 3 * Rng.for_rows(len(images), "code").normal((len(images), *codec.code_shape))
    torch.testing.assert_close(codec.encode(codec.decode(code)).mean, code, rtol=0, atol=2e-5)


@given(cases())
def test_distances_between_codes_are_those_between_images(case):
    codec, images = fitted(*case)
    codes = codec.encode(images).mean.flatten(1)
    expected = torch.cdist(images.flatten(1).double(), images.flatten(1).double()) / codec.scale
    torch.testing.assert_close(torch.cdist(codes.double(), codes.double()), expected.double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codes.square().mean(), torch.tensor(1.0), rtol=1e-4, atol=0)


@given(cases(), st.data())
def test_a_voxel_changes_the_code_of_its_block_alone(case, data):
    """And a mask hides exactly the cells of its blocks: all others have the code of the complete image."""
    (levels, shape), (codec, images) = case, fitted(*case)
    voxel = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    known = torch.ones_like(images, dtype=torch.bool)
    known[(slice(None), *voxel)] = False
    code = codec.encode(images).mean
    hidden, reliable = codec.encode_partial(torch.where(known, images, torch.nan), known)
    expected = torch.ones(len(images), 1, *codec.code_shape[1:], dtype=torch.bool)
    expected[(slice(None), 0, *(place // 2**levels for place in voxel[1:]))] = False
    assert torch.equal(reliable, expected)
    assert torch.equal(torch.where(reliable, hidden.mean, 0), torch.where(reliable, code, 0))
    changed = codec.encode(torch.where(known, images, images + 1)).mean
    assert torch.equal((changed != code).any(1, keepdim=True), ~reliable)


@given(cases())
def test_channels_of_a_band_are_few(case):
    (_, shape), (codec, _) = case, fitted(*case)
    bands = torch.tensor(codec.bands)
    assert len(bands) == codec.code_shape[0]
    assert (torch.bincount(bands) == shape[0] * 2 ** (len(shape) - 1)).all()


def test_coefficients_of_two_levels():
    """First the sum of a block, then differences of its halves, then those of their halves."""
    codec = WaveletSpec(levels=2).build((1, 4, 4))
    ramp = torch.arange(4.0)[:, None].expand(4, 4)[None, None]  # rises along the first axis
    code = codec.encode(ramp).mean.flatten()
    assert code[0] == pytest.approx(float(ramp.sum()) / 4)
    assert code[1:4].tolist() == pytest.approx([0, -4, 0]), "difference along the second, first and both axes"
    second, first, both = code[4:].unflatten(0, (3, 4))
    assert second.tolist() == pytest.approx([0] * 4) and both.tolist() == pytest.approx([0] * 4)
    assert first.tolist() == pytest.approx([-1] * 4)


def test_the_image_is_centred_at_the_training_mean():
    codec, images = fitted(2, (1, 8, 8))
    torch.testing.assert_close(codec.mean_image, images.mean(0))
    torch.testing.assert_close(
        codec.encode(images.mean(0, keepdim=True)).mean, torch.zeros(1, 16, 2, 2), atol=1e-5, rtol=0
    )


def test_axes_are_multiples_of_a_block():
    assert [WaveletSpec(levels=levels).grid_multiple() for levels in (1, 2, 3)] == [2, 4, 8]
    assert WaveletSpec().build((1, 8, 12, 4)).code_shape == (64, 2, 3, 1)
