"""Tiles: their weights, and networks whose result in tiles is that of the whole image."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.codecs.tiles import UNUSED, Tiling, random_patches, tiled
from metavoxel.rng import Rng


@st.composite
def tilings(draw):
    overlap = draw(st.integers(1, 6))
    return Tiling(draw(st.integers(2 * overlap, 20)), overlap)


@given(tilings(), st.integers(1, 60), st.integers(1, 4))
def test_every_cell_is_covered_with_weights_that_add_to_1(tiling, length, factor):
    starts, weights = tiling.starts(length), tiling.weights(length, factor)
    total = torch.zeros(length * factor)
    for start, weight in zip(starts, weights, strict=True):
        assert start >= 0 and (start + min(tiling.size, length)) <= length
        total[start * factor : start * factor + len(weight)] += weight
    torch.testing.assert_close(total, torch.ones_like(total))
    assert ((weights >= 0) & (weights <= 1 + 1e-6)).all()
    assert all(
        second - first <= tiling.size - tiling.overlap for first, second in zip(starts, starts[1:], strict=False)
    )


@given(tilings(), st.integers(1, 3), st.sampled_from(["down", "up", "same"]))
def test_a_function_of_each_cell_alone_is_not_changed(tiling, axes, direction):
    grid = (23, 9, 14)[:axes]
    pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[axes - 1]
    functions = {"down": lambda x: pool(x, 2) + 1, "up": lambda x: functional.interpolate(x, scale_factor=2.0),
                 "same": torch.exp}  # fmt: skip
    fine = tuple(2 * length for length in grid) if direction == "down" else grid
    x = Rng.for_rows(2, "cells").normal((2, 3, *fine)).float()
    found = tiled(functions[direction], x, grid=grid, tiling=tiling)
    torch.testing.assert_close(found, functions[direction](x))


def test_a_convolution_within_the_unused_cells_is_that_of_the_whole_image():
    tiling = Tiling(20, 8)
    assert UNUSED * tiling.overlap == 3
    x, kernel = torch.randn(1, 1, 50, 44), torch.randn(1, 1, 7, 7)
    found = tiled(lambda part: functional.conv2d(part, kernel, padding=3), x, grid=(50, 44), tiling=tiling)
    torch.testing.assert_close(found, functional.conv2d(x, kernel, padding=3), atol=1e-4, rtol=1e-4)


def test_a_wider_convolution_is_blended():
    """A constant image whose tiles all darken towards their borders, to a half there."""
    x, kernel = torch.ones(1, 1, 60), torch.ones(1, 1, 15) / 15
    function = lambda part: functional.conv1d(part, kernel, padding=7)  # noqa: E731
    abrupt = torch.cat([function(part)[0, 0] for part in x.split(20, 2)])
    inside = slice(8, -8)  # away from the borders of the image
    for overlap, error in ((8, 0.25), (16, 0.05)):
        found = tiled(function, x, grid=(60,), tiling=Tiling(36, overlap))[0, 0]
        assert (1 - found[inside]).max() < error * (1 - abrupt[inside]).max()


def codec(**settings):
    spec = KLVAESpec(channels=(8,), latent_channels=2, residual_blocks=1, **settings)
    torch.manual_seed(0)
    return spec.build((1, 64, 80)).eval()


def pictures(rows=2):
    return Rng.for_rows(rows, "pictures").uniform((rows, 1, 64, 80))


def test_codes_and_images_in_tiles_are_those_of_the_whole():
    """Encoder and decoder of one residual block reach 4 cells, 16 voxels, within the unused 18 of an overlap of 48."""
    whole, parts = codec(), codec(tile=56, tile_overlap=48)
    assert parts.load_state_dict(whole.state_dict())
    values = pictures()
    for expected, found in zip(whole.encode(values), parts.encode(values), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    code = whole.encode(values).mean
    torch.testing.assert_close(parts.decode(code), whole.decode(code), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("overlap", "most"), [(8, 0.4), (16, 0.25), (32, 0.06)])
def test_smaller_overlaps_are_close(overlap, most):
    """Root mean squared difference from the whole image, relative to its standard deviation, with random weights."""
    whole, parts = codec(), codec(tile=40, tile_overlap=overlap)
    parts.load_state_dict(whole.state_dict())
    code = whole.encode(pictures()).mean
    expected = whole.decode(code)
    assert (parts.decode(code) - expected).square().mean().sqrt() < most * expected.std()


def test_patches_for_training_are_cut_at_cells():
    values = torch.arange(64 * 80.0).reshape(1, 1, 64, 80).expand(50, 1, 64, 80)
    patches = random_patches(values, Rng.for_rows(50, "crop"), size=24, factor=4)
    assert patches.shape == (50, 1, 24, 24)
    first = patches[:, 0, 0, 0].long()
    assert (first % 80 % 4 == 0).all() and (first // 80 % 4 == 0).all()
    assert {0, 40} <= set((first // 80).tolist()) and {0, 56} <= set((first % 80).tolist())
    terms = codec(crop=24).losses(pictures(), rng=Rng.for_rows(2, "losses"))
    assert all(torch.isfinite(term) for term in terms.values())


def test_images_as_large_as_a_tile_stay_whole():
    whole, parts = codec(), codec(tile=80)
    parts.load_state_dict(whole.state_dict())
    assert torch.equal(parts.encode(pictures()).mean, whole.encode(pictures()).mean)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": 30}, "tile 30 must be a multiple of downsampling 4"),
        ({"tile": 32, "tile_overlap": 32}, "tile_overlap 32 must be less than tile 32"),
        ({"tile": 32, "tile_overlap": 6}, "tile_overlap 6 must be a multiple of downsampling 4"),
        ({"crop": 6}, "crop 6 must be a multiple of downsampling 4"),
    ],
)
def test_sizes_that_do_not_suit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        KLVAESpec(**settings)


@pytest.mark.parametrize(
    "network",
    [{}, {"channels": (64, 128, 256), "norm_groups": 32, "linear_path": False}, {"channels": (16, 16, 32)}],
)
@pytest.mark.parametrize("gigabytes", [0.7, 1, 4, 16])
def test_a_volume_that_does_not_fit_names_the_tile_that_does(network, gigabytes):
    with torch.device("meta"):
        whole = KLVAESpec(**network).build((1, 192, 224, 192))
        if whole.forecast((192, 224, 192)) <= gigabytes * 1e9:
            assert whole.memory_problem(int(gigabytes * 1e9)) is None
            return
        problem = whole.memory_problem(int(gigabytes * 1e9))
        assert "images of 192 x 224 x 192 voxels takes about" in problem and f"has {gigabytes:.3g} GB" in problem
        tile = int(re.search(r"set 'tile: (\d+)'", problem)[1])
        parts = KLVAESpec(**network, tile=tile).build((1, 192, 224, 192))
        assert parts.memory_problem(int(gigabytes * 1e9)) is None
        assert "tiles of" in parts.memory_problem(10**8)


def test_without_memory_for_any_tile_other_settings_are_proposed():
    with torch.device("meta"):
        codec = KLVAESpec(channels=(64, 128, 256)).build((1, 192, 224, 192))
    assert "choose a larger spacing" in codec.memory_problem(10**8)


def test_published_networks_fit_16_gb_and_4_gb_in_tiles():
    """192 x 224 x 192 voxels at 1 mm through a network of MAISI's size."""
    with torch.device("meta"):
        codec = KLVAESpec(channels=(64, 128, 256), latent_channels=4).build((1, 192, 224, 192))
    tiles = [int(re.search(r"tile: (\d+)", codec.memory_problem(size * 10**9))[1]) for size in (16, 4)]
    assert tiles[0] > tiles[1] >= 64
