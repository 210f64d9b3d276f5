import itertools

import numpy as np
import pytest

from metavoxel.images.grid import Grid


def _corner_positions(grid: Grid) -> set[tuple[float, ...]]:
    """Positions in mm of the corners of the field of view."""
    ends = [(-0.5, size - 0.5) for size in grid.shape] + [(0.0,)] * (3 - len(grid.shape))
    return {tuple(np.round((grid.affine @ [*corner, 1])[:3], 6)) for corner in itertools.product(*ends)}


ROTATED = np.array([[0, 0, -1.5, 40], [-2, 0, 0, 50], [0, 3, 0, -60], [0, 0, 0, 1]], float)


def test_spacing_is_along_the_image_axes():
    assert Grid((4, 5, 6), ROTATED).spacing == (2.0, 3.0, 1.5)
    assert Grid((4, 5), np.diag([2.0, 3, 1, 1])).spacing == (2.0, 3.0)


def test_canonical_axes_run_right_anterior_superior():
    grid = Grid((4, 5, 6), ROTATED).canonical()
    assert grid.shape == (6, 4, 5)
    np.testing.assert_allclose(grid.affine[:3, :3], np.diag([1.5, 2, 3]))


@pytest.mark.parametrize("signs", list(itertools.product([1, -1], repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_canonical_covers_the_same_space(order, signs):
    affine = np.eye(4)
    affine[:3, :3] = np.diag([1.0, 2, 3])[:, order] * signs
    affine[:3, 3] = [7, -8, 9]
    grid = Grid((4, 5, 6), affine)
    canonical = grid.canonical()
    assert _corner_positions(canonical) == _corner_positions(grid)
    assert (np.diag(canonical.affine)[:3] > 0).all()


def test_canonical_in_two_axes_keeps_the_slice_in_its_plane():
    coronal = np.array([[0, -2.0, 0, 30], [0, 0, 1, 5], [3, 0, 0, -20], [0, 0, 0, 1]])
    grid = Grid((10, 20), coronal)
    canonical = grid.canonical()
    assert canonical.shape == (20, 10)
    assert canonical.spacing == (2.0, 3.0)
    assert _corner_positions(canonical) == _corner_positions(grid)


@pytest.mark.parametrize(
    ("shape", "step", "spacing", "expected"),
    [
        ((79, 95, 68), 2.0, 4.0, (40, 48, 34)),
        ((10, 10, 10), 2.0, 1.0, (20, 20, 20)),
        ((7, 7, 7), 1.0, 10.0, (1, 1, 1)),
        ((64, 64, 64), 0.9999999, 1.0, (64, 64, 64)),
    ],
)
def test_resampling_never_shrinks_the_field_of_view(shape, step, spacing, expected):
    grid = Grid(shape, np.diag([step, step, step, 1]))
    new = grid.resampled(spacing)
    assert new.shape == expected
    assert np.allclose(new.spacing, spacing)
    centre = (np.array(shape) - 1) / 2 * step
    np.testing.assert_allclose((new.affine @ [*(np.array(new.shape) - 1) / 2, 1])[:3], centre, atol=1e-5)
    assert all(size * spacing >= old * step - 0.02 * spacing for size, old in zip(new.shape, shape, strict=True))


def test_padding_is_centred_and_keeps_positions():
    grid = Grid((3, 4, 5), ROTATED)
    padded = grid.padded((6, 4, 8))
    assert grid.margins((6, 4, 8)) == ((1, 2), (0, 0), (1, 2))
    np.testing.assert_allclose(padded.affine @ [1, 0, 1, 1], grid.affine @ [0, 0, 0, 1])


@pytest.mark.parametrize("shape", [(2, 4, 5), (3, 4), (3, 4, 5, 6)])
def test_padding_never_crops(shape):
    with pytest.raises(ValueError, match="3x4x5 voxels does not fit"):
        Grid((3, 4, 5), ROTATED).padded(shape)


def test_grids_agree_by_shape_and_spacing():
    grid = Grid((3, 4), np.eye(4))
    moved = np.eye(4)
    moved[:3, 3] = 9
    assert grid.agrees(Grid((3, 4), moved))
    assert not grid.agrees(Grid((3, 5), moved))
    assert not grid.agrees(Grid((3, 4), np.diag([1.0, 1.01, 1, 1])))
