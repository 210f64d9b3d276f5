"""Slices of volumes."""

import torch

from metavoxel.evaluation.metrics.features.scattering import Scattering
from metavoxel.evaluation.slices import MOST_SLICES, cut, features_of


def ball(x=12, y=14, z=16):
    volume = torch.zeros(1, x, y, z)
    volume[:, 2:-3, 4:-2, 1:-5] = torch.rand(1, x - 5, y - 6, z - 6) + 0.5
    return volume


def test_planes_across_each_axis_without_the_empty_ones():
    volumes = [ball() for _ in range(3)]
    where = cut(volumes)
    assert where.planes == ("YZ", "ZX", "XY")
    assert where.positions == (tuple(range(2, 9)), tuple(range(4, 12)), tuple(range(1, 11)))
    yz, zx, xy = where.slices(volumes[0])
    assert yz.shape == (7, 14, 16) and zx.shape == (8, 12, 16) and xy.shape == (10, 12, 14)
    assert min(part.min() for part in (yz, zx, xy)) == 0 and max(part.max() for part in (yz, zx, xy)) == 1


def test_a_position_that_few_volumes_fill_is_left_out():
    odd = torch.zeros(1, 12, 14, 16)
    odd[:, 0] = 1
    assert 0 not in cut([ball(), ball(), ball(), odd]).positions[0]


def test_there_is_a_most_of_slices():
    where = cut([torch.rand(1, 60, 8, 8) + 0.5])
    assert len(where.positions[0]) == MOST_SLICES and where.positions[0][0] == 0 and where.positions[0][-1] == 59


def test_a_picture_is_its_own_slice():
    pictures = [torch.rand(1, 10, 14) for _ in range(3)]
    where = cut(pictures)
    assert where.planes == ("picture",)
    (planes,) = features_of(pictures, where, Scattering())
    assert planes.shape == (3, 1, 113)


def test_intensities_of_a_volume_are_its_own():
    """Brighter or darker is the same volume; a constant one is no division by zero."""
    volume = ball()
    where = cut([volume])
    for one, other in zip(where.slices(volume), where.slices(3 * volume + 1), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert all(part.isfinite().all() for part in where.slices(torch.ones_like(volume)))
