import nibabel
import numpy as np
import pytest
from nilearn.image import resample_img
from scipy.ndimage import gaussian_filter

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image


def _affine(step, origin, degrees=0.0):
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= step
    affine[:3, 3] = origin
    return affine


def _smooth(shape, seed=0):
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5).astype(np.float32) * 50


@pytest.mark.parametrize("degrees", [0.0, 25.0, -8.0])
@pytest.mark.parametrize("step", [1.0, 0.8])
def test_positions_agree_with_nilearn(degrees, step):
    source = Image(_smooth((30, 32, 34)), Grid((30, 32, 34), _affine(1.0, (-3, 5, -20), degrees)))
    target = Grid((26, 40, 44), _affine(step, (0.3, -2.1, -16.7)))
    found, inside = source.onto(target)
    expected = resample_img(
        nibabel.Nifti1Image(source.data, source.grid.affine), target.affine, target.shape, interpolation="continuous",
        copy_header=True, force_resample=True,
    ).get_fdata()  # fmt: skip
    ijk = np.indices(target.shape).reshape(3, -1).T
    place = (ijk @ target.affine[:3, :3].T + target.affine[:3, 3] - source.grid.affine[:3, 3]) @ np.linalg.inv(
        source.grid.affine[:3, :3]
    ).T
    covered = ((place > -0.5) & (place < np.array(source.data.shape) - 0.5)).all(1).reshape(target.shape)
    assert (inside != covered).mean() < 0.002
    inner = ((place > 2) & (place < np.array(source.data.shape) - 3)).all(1).reshape(target.shape)
    assert inner.sum() > 3000
    assert np.abs(found.data - expected)[inner].max() < 0.05 * source.data.std()
    assert (found.data[~inside] == 0).all()


def test_voxels_of_one_lattice_are_copied_exactly():
    source = Image(_smooth((8, 9, 10)), Grid((8, 9, 10), _affine(2.0, (10, 20, 30))))
    found, inside = source.onto(Grid((12, 9, 6), _affine(2.0, (6, 20, 36))), -7.0)
    np.testing.assert_array_equal(found.data[2:10], source.data[:, :, 3:9])
    assert (found.data[~inside] == -7).all() and inside.sum() == 8 * 9 * 6


def test_a_rotated_image_is_low_pass_filtered_on_a_coarser_grid():
    noise = np.random.default_rng(0).normal(size=(48, 48, 48)).astype(np.float32)
    source = Image(noise, Grid((48, 48, 48), _affine(1.0, (0, 0, 0), 20)))
    rotated, inside = source.onto(Grid((12, 12, 12), _affine(4.0, (0, 0, 4))))
    straight, _ = Image(noise, Grid((48, 48, 48), np.eye(4))).onto(Grid((10, 10, 10), _affine(4.0, (4, 4, 4))))
    assert rotated.data[inside].std() < 0.2, "plain interpolation would leave about 1"
    assert rotated.data[inside].std() == pytest.approx(straight.data.std(), rel=0.3)


def test_labels_are_never_interpolated():
    labels = np.random.default_rng(0).choice([0.0, 2.0, 7.0], (9, 9, 9)).astype(np.float32)
    source = Image(labels, Grid((9, 9, 9), np.eye(4)))
    found, inside = source.onto(Grid((20, 20, 20), _affine(0.6, (-1, -1, -1), 10)), labels=True)
    assert set(np.unique(found.data[inside])) <= {0.0, 2.0, 7.0}
    same, _ = source.onto(source.grid, labels=True)
    np.testing.assert_array_equal(same.data, labels)


def test_disjoint_grids_leave_only_fill():
    source = Image(_smooth((8, 8, 8)), Grid((8, 8, 8), np.eye(4)))
    for degrees in (0, 15):
        found, inside = source.onto(Grid((4, 4, 4), _affine(1.0, (50, 0, 0), degrees)), 3.0)
        assert not inside.any() and (found.data == 3).all()


def test_slices_are_resampled_regardless_of_their_height():
    source = Image(_smooth((8, 9)), Grid((8, 9), _affine(2.0, (0, 0, 12))))
    found, inside = source.onto(Grid((10, 9), _affine(2.0, (-2, 0, 40))))
    np.testing.assert_array_equal(found.data[1:9], source.data)
    assert inside.sum() == 72
