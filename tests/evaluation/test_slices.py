"""Slices of volumes for the 2.5-D Fréchet distance."""

import torch

from metavoxel.evaluation.metrics.features.scattering import Scattering
from metavoxel.evaluation.slices import MOST_SLICES, cut, features_of


def ball(x=12, y=14, z=16):
    volume = torch.zeros(1, x, y, z)
    volume[:, 2:-3, 4:-2, 1:-5] = torch.rand(1, x - 5, y - 6, z - 6) + 0.5
    return volume


def test_slices_of_each_plane_exclude_empty_positions():
    volumes = [ball() for _ in range(3)]
    where = cut(volumes)
    assert where.planes == ("YZ", "ZX", "XY")
    assert where.positions == (tuple(range(2, 9)), tuple(range(4, 12)), tuple(range(1, 11)))
    yz, zx, xy = where.slices(volumes[0])
    assert yz.shape == (7, 14, 16) and zx.shape == (8, 12, 16) and xy.shape == (10, 12, 14)
    assert min(part.min() for part in (yz, zx, xy)) == 0 and max(part.max() for part in (yz, zx, xy)) == 1


def test_positions_empty_in_most_volumes_are_excluded():
    odd = torch.zeros(1, 12, 14, 16)
    odd[:, 0] = 1
    assert 0 not in cut([ball(), ball(), ball(), odd]).positions[0]


def test_number_of_slices_is_limited():
    where = cut([torch.rand(1, 60, 8, 8) + 0.5])
    assert len(where.positions[0]) == MOST_SLICES and where.positions[0][0] == 0 and where.positions[0][-1] == 59


def test_a_picture_is_its_own_slice():
    pictures = [torch.rand(1, 10, 14) for _ in range(3)]
    where = cut(pictures)
    assert where.planes == ("picture",)
    (planes,) = features_of(pictures, where, Scattering())
    assert planes.shape == (3, 1, 113)


def test_slices_are_scaled_by_the_range_of_their_volume():
    """Affine changes of intensity have no effect; a constant volume causes no division by zero."""
    volume = ball()
    where = cut([volume])
    for one, other in zip(where.slices(volume), where.slices(3 * volume + 1), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert all(part.isfinite().all() for part in where.slices(torch.ones_like(volume)))
