import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metavoxel.images.common_grid import common_grid, commonest, distinct, spread
from metavoxel.images.grid import Grid


def _grid(shape, origin, step=1.0, degrees=0.0):
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= step
    affine[:3, 3] = origin
    return Grid(shape, affine)


def _contains(outer, inner, slack=1e-6):
    indices = (np.linalg.inv(outer.affine) @ np.c_[inner.corners(), np.ones(len(inner.corners()))].T)[:3].T
    ends = np.array([*outer.shape, 1][:3])
    return (indices >= -0.5 - slack).all() and (indices <= ends - 0.5 + slack).all()


def test_the_common_grid_of_one_grid_is_itself():
    grid = _grid((5, 6, 7), (-3, 4, 9), 2, 25)
    same = common_grid([grid, grid])
    assert same.shape == grid.shape
    np.testing.assert_allclose(same.affine, grid.affine, atol=1e-9)


def test_boxes_of_one_lattice_keep_their_voxels():
    """The boxes of two MNI templates, 10 mm apart by their centres."""
    fsl, spm = _grid((46, 55, 46), (-90, -126, -72), 4), _grid((40, 48, 40), (-78, -112, -70), 4)
    union = common_grid([fsl, fsl, spm])
    np.testing.assert_allclose((union.affine[:3, 3] - fsl.affine[:3, 3]) / 4 % 1, 0, atol=1e-9)
    assert _contains(union, fsl) and _contains(union, spm)
    assert union.shape == (46, 55, 46), "the smaller lies within the larger, but for half a voxel"


def test_rotated_grids_lie_within_a_world_aligned_one():
    grids = [_grid((32, 32, 32), (-60, -60, -60), 4), _grid((32, 32, 32), (-60, -30, -80), 4, 25)]
    union = common_grid(grids)
    np.testing.assert_allclose(union.directions(), np.eye(3), atol=1e-12)
    assert all(_contains(union, grid) for grid in grids)


def test_slices_keep_their_plane():
    low, high = _grid((8, 9), (0, 0, 10), 2), _grid((8, 9), (4, 0, 30), 2)
    union = common_grid([low, low, high])
    assert union.shape == (10, 9)
    assert union.affine[2, 3] == 10


@settings(max_examples=60, deadline=None)
@given(
    origins=st.lists(st.tuples(*[st.floats(-40, 40)] * 3), min_size=1, max_size=5),
    degrees=st.sampled_from([0.0, 7.0, -25.0]),
    spacing=st.sampled_from([None, 1.0, 2.5, 4.0]),
)
def test_all_grids_are_covered_with_little_margin(origins, degrees, spacing):
    grids = [_grid((12, 10, 9), origin, 2.0, degrees if index % 2 else 0) for index, origin in enumerate(origins)]
    union = common_grid(grids, spacing)
    step = spacing or 2.0
    assert all(_contains(union, grid, 0.011) for grid in grids)
    np.testing.assert_allclose(union.spacing, step)
    corners = np.concatenate([grid.corners() for grid in grids])
    extent = corners.max(0) - corners.min(0)
    assert (np.array(union.shape) * step <= extent + 2 * step + 1e-6).all()


def test_commonest_distinct_and_spread():
    one, other = _grid((4, 4, 4), (0, 0, 0)), _grid((4, 4, 4), (0, 0, 10), 1, 20)
    rounded = Grid(one.shape, one.affine + 1e-5)
    assert commonest([other, one, rounded]) is one
    assert len(distinct([other, one, rounded])) == 2
    found = spread([one, rounded, other])
    assert found.angle == pytest.approx(20)
    apart = np.linalg.norm(one.corners().mean(0) - other.corners().mean(0))
    assert found.centres == pytest.approx(apart / 2, abs=1e-3)
    assert spread([one]).centres == 0 and spread([one]).angle == pytest.approx(0, abs=1e-4)
