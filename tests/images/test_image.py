import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image


def _image(data, step=1.0):
    return Image(np.asarray(data, np.float32), Grid(np.shape(data), np.diag([step, step, step, 1.0])))


def _wave(size, period):
    return np.sin(2 * np.pi * np.arange(size) / period)[:, None] * np.ones((1, 4))


@pytest.mark.parametrize(("spacing", "tolerance"), [(0.8, 1e-4), (2.5, 0.03)])
def test_a_plane_stays_a_plane(spacing, tolerance):
    x, y, z = np.meshgrid(np.arange(30), np.arange(31), np.arange(32), indexing="ij")
    image = _image(2 * x - y + 3 * z)
    new = image.resampled(spacing)
    indices = np.stack(np.meshgrid(*map(np.arange, new.grid.shape), indexing="ij"), -1)
    mm = indices @ new.grid.affine[:3, :3].T + new.grid.affine[:3, 3]
    expected = mm @ [2, -1, 3]
    inner = (slice(3, -3),) * 3
    np.testing.assert_allclose(new.data[inner], expected[inner], atol=tolerance)


@pytest.mark.parametrize("spacing", [0.7, 1.0, 3.3])
def test_a_constant_stays_constant(spacing):
    np.testing.assert_allclose(_image(np.full((9, 8, 7), 5.0)).resampled(spacing).data, 5, rtol=1e-6)


def test_detail_finer_than_the_new_grid_is_averaged():
    coarse = _image(_wave(400, period=4.4)).resampled(4.0)
    aliased = map_coordinates(_wave(400, period=4.4)[:, 0], [np.arange(1.5, 400, 4)], order=1)
    inner = coarse.data[3:-3, 0]
    assert inner.std() < 0.06
    assert aliased.std() > 0.4, "plain interpolation would alias it"


def test_coarser_detail_is_preserved():
    coarse = _image(_wave(400, period=40)).resampled(4.0)
    x = coarse.grid.affine[0, 0] * np.arange(coarse.grid.shape[0]) + coarse.grid.affine[0, 3]
    np.testing.assert_allclose(coarse.data[3:-3, 0], np.sin(2 * np.pi * x / 40)[3:-3], atol=0.03)


def test_intensities_stay_within_the_range_of_the_image():
    step = np.zeros((24, 24))
    step[8:16, 8:16] = 1
    new = _image(step).resampled(0.6)
    assert new.data.min() == 0
    assert new.data.max() == 1


def test_positions_keep_their_intensity():
    rng = np.random.default_rng(0)
    knots = rng.normal(size=(6, 6, 6))
    at = np.stack(np.meshgrid(*[np.linspace(0, 5, 60)] * 3, indexing="ij"))
    affine = np.array([[-1, 0.1, 0, 30], [0.1, 1, 0, -20], [0, 0, 1.2, 5], [0, 0, 0, 1]])
    image = Image(map_coordinates(knots, at, order=3).astype(np.float32), Grid((60, 60, 60), affine))
    new = image.canonical().resampled(2.0).padded((40, 40, 48))
    voxels = np.array([[15, 15, 20], [20, 22, 18], [24, 17, 29]])
    mm = voxels @ new.grid.affine[:3, :3].T + new.grid.affine[:3, 3]
    old = (mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    expected = map_coordinates(image.data, old.T, order=1)
    np.testing.assert_allclose(new.data[tuple(voxels.T)], expected, atol=0.03)


def test_padding_has_the_fill_intensity():
    padded = _image(np.full((3, 3), 2.0)).padded((6, 4), -1024)
    assert (padded.data[0] == -1024).all() and (padded.data[:, 3] == -1024).all()
    assert (padded.data[1:4, :3] == 2).all()
    assert _image(np.full((3, 3), 2.0)).padded((6, 4)).data.sum() == 18


@pytest.mark.parametrize("intensity", [0.0, 0.4, -1024.0])
def test_the_background_is_the_median_of_the_outermost_voxels(intensity):
    head = np.full((20, 22, 24), intensity)
    head[5:15, 5:17, :12] = 700  # cut off at the edge, as a neck is
    assert _image(head).background() == pytest.approx(intensity)
    assert _image(np.arange(6.0).reshape(2, 3)).background() == 2.5


def test_the_share_beyond_a_grid_is_weighted_by_contrast():
    data = np.full((20, 8, 8), 5.0)
    data[2:4], data[12:18] = 9, 1
    image = _image(data)
    assert image.share_beyond(Grid((10, 8, 8), np.eye(4)), 5) == pytest.approx(6 / 8)
    assert image.share_beyond(image.grid, 5) == 0
    assert _image(np.full((4, 4, 4), 5.0)).share_beyond(Grid((2, 4, 4), np.eye(4)), 5) == 0


def test_percentiles_become_0_and_1():
    image = _image(np.arange(1001.0).reshape(7, 143))
    scaled = image.scaled(*image.percentiles((10, 90)))
    values = scaled.data.reshape(-1)
    assert values[100] == 0
    assert values[900] == 1
    assert values[500] == pytest.approx(0.5)
    assert values.min() == 0
    assert values.max() == 1


def test_an_image_without_contrast_between_the_percentiles_is_refused():
    spike = np.zeros((50, 50))
    spike[0, 0] = 1
    with pytest.raises(ValueError, match="both 0"):
        _image(spike).percentiles((0.5, 99.5))


def test_percentiles_of_some_voxels():
    image = _image(np.arange(100.0).reshape(10, 10))
    assert image.percentiles((0, 100), image.data >= 50) == (50, 99)
