"""Blocks of voxels as channels, and moments of images."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.parts.codecs.blocks import channel_spread, from_blocks, known_blocks, spread, surrounded, to_blocks
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


@given(GRIDS)
def test_a_surrounded_cell_is_known_with_its_neighbours(grid):
    known = Rng.for_rows(2, "known").uniform((2, 1, *grid)) < 0.8
    found = surrounded(known)
    for cell in torch.cartesian_prod(*[torch.arange(size) for size in (2, *grid)]).tolist():
        near = [slice(max(at - 1, 0), at + 2) for at in cell[1:]]
        assert bool(found[(cell[0], 0, *cell[1:])]) == bool(known[(cell[0], 0, *near)].all())


def test_spread_of_channels_includes_the_posteriors_own():
    means = Rng.for_rows(6, "means").normal((6, 2, 3, 4), dtype=torch.float64)
    means[:, 1] = 3 + 2 * means[:, 1]
    sds = torch.full_like(means, 0.5)
    center, scale = channel_spread(zip(means.split(4), sds.split(4), strict=True))
    torch.testing.assert_close(center, means.mean((0, 2, 3)))
    torch.testing.assert_close(scale, (means.var((0, 2, 3), correction=0) + 0.25).sqrt())
