"""Principal components of blocks: against scikit-learn, and their exact limits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch.nn import functional

from metavoxel.parts.codecs.block_components import fit_block_components, fit_neighbour_decoder
from metavoxel.parts.codecs.blocks import from_blocks, to_blocks
from metavoxel.rng import Rng


def blocks(rows=5, voxels=8, grid=(4, 3)):
    mixing = Rng.for_rows(voxels, "mixing").normal((voxels, voxels)) * torch.logspace(0, -2, voxels)[:, None]
    sources = Rng.for_rows(rows, "sources").normal((rows, voxels, *grid))
    return torch.einsum("vw,bw...->bv...", mixing.float().T, sources.float())


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_blocks_are_inverted(axes, factor, channels):
    shape = (2, channels, *(factor * size for size in (2, 3, 1)[:axes]))
    maps = Rng.for_rows(2, "maps").normal(shape)
    found = to_blocks(maps, factor)
    assert found.shape == (2, channels, factor**axes, *(size // factor for size in shape[2:]))
    assert torch.equal(from_blocks(found, factor), maps)


def test_a_block_has_the_voxels_of_its_place():
    picture = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert to_blocks(picture, 2)[0, 0, :, 1, 2].tolist() == [16, 17, 22, 23]


def test_components_are_those_of_scikit_learn():
    data = blocks()
    rows = data.movedim(1, -1).flatten(0, -2)
    mirrored = torch.cat([data, -data])  # of mean 0, as the moments are about 0 and scikit-learn's about the mean
    found = fit_block_components(mirrored.split(3), 3)
    expected = PCA(3).fit(torch.cat([rows, -rows]).double().numpy())
    torch.testing.assert_close(
        found.variances.double(), torch.from_numpy(expected.explained_variance_), rtol=0.02, atol=0
    )
    alignment = (found.directions.double() @ torch.from_numpy(expected.components_).T).abs()
    torch.testing.assert_close(alignment, torch.eye(3, dtype=torch.float64), atol=1e-4, rtol=0)


def test_batches_do_not_matter():
    data = blocks()
    one, many = fit_block_components([data], 4), fit_block_components(data.split(1), 4)
    torch.testing.assert_close(one.variances, many.variances)


def test_codes_have_variance_1_and_no_correlation():
    data = blocks(rows=20)
    codes = fit_block_components([data], 4).encode(data).movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(codes.T @ codes / len(codes), torch.eye(4), atol=1e-3, rtol=0)


def test_all_components_are_lossless_and_the_error_is_the_rest_of_the_variance():
    data = blocks()
    whole = fit_block_components([data], 8)
    torch.testing.assert_close(whole.decode(whole.encode(data)), data, atol=1e-4, rtol=1e-4)
    part = fit_block_components([data], 3)
    error = (part.decode(part.encode(data)) - data).square().sum(1).mean()
    torch.testing.assert_close(error, whole.variances[3:].sum(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("data", [torch.zeros(2, 4, 3), torch.ones(2, 4, 3)], ids=["zero", "constant"])
def test_directions_without_variance_are_zero(data):
    found = fit_block_components([data], 6)
    assert found.directions.shape == (6, 4)
    assert torch.isfinite(found.encoder).all() and (found.variances[1:] == 0).all()
    torch.testing.assert_close(found.decode(found.encode(data)), data)


def smooth(rows=30, size=16):
    """Pictures with long correlations, so that blocks predict their neighbours."""
    noise = Rng.for_rows(rows, "smooth").normal((rows, 1, size + 8, size + 8)).float()
    return to_blocks(functional.avg_pool2d(noise, 9, 1), 4).flatten(1, 2)


def test_neighbours_reduce_the_error_of_a_block():
    data = smooth()
    found = fit_block_components([data], 2)
    decoder = fit_neighbour_decoder(data.split(7), found)
    assert decoder.shape == (16, 2, 3, 3)
    alone = (found.decode(found.encode(data)) - data).square().mean()
    together = (functional.conv2d(found.encode(data), decoder, padding=1) - data).square().mean()
    assert together < 0.8 * alone


def test_the_decoder_of_uncorrelated_blocks_uses_each_alone():
    data = blocks(rows=400, grid=(6, 6))
    found = fit_block_components([data], 3)
    decoder = fit_neighbour_decoder([data], found)
    torch.testing.assert_close(decoder[:, :, 1, 1], found.decoder, atol=0.05, rtol=0.05)
    decoder[:, :, 1, 1] = 0
    assert decoder.abs().max() < 0.05


def test_constant_blocks_have_a_decoder_of_zeros():
    data = torch.zeros(2, 4, 3, 3)
    assert (fit_neighbour_decoder([data], fit_block_components([data], 2)) == 0).all()
