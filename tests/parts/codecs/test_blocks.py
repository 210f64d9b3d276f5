"""Blocks of voxels as channels, and moments of images."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.parts.codecs.blocks import from_blocks, known_blocks, spread, to_blocks
from metavoxel.rng import Rng

GRIDS = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@given(GRIDS, st.integers(1, 3), st.integers(1, 3))
def test_blocks_are_the_voxels_of_a_block(grid, channels, factor):
    shape = (2, channels, *(size * factor for size in grid))
    maps = Rng.for_rows(2, "maps").normal(shape)
    blocks = to_blocks(maps, factor)
    assert blocks.shape == (2, channels, factor ** len(grid), *grid)
    corner = maps[(..., *[slice(factor)] * len(grid))]
    assert torch.equal(blocks[(..., *[0] * len(grid))], corner.flatten(2))
    assert torch.equal(from_blocks(blocks, factor), maps)


def test_a_block_is_known_if_all_voxels_of_all_channels_are():
    known = torch.ones(1, 2, 4, 6, dtype=torch.bool)
    known[0, 1, 3, 4] = False
    assert known_blocks(known, 2).tolist() == [[[[True, True, True], [True, True, False]]]]


def test_spread_is_around_the_mean_image():
    images = 5 + Rng.for_rows(7, "images").normal((7, 1, 3, 4))
    center, scale = spread(lambda: images.split(2))
    torch.testing.assert_close(center, images.mean(0))
    torch.testing.assert_close(scale, (images - images.mean(0)).square().mean().sqrt())
    assert spread(lambda: [torch.ones(3, 1, 2, 2)]).scale > 0, "of equal images, so that codes stay finite"
