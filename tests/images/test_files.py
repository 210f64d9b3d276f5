import gzip
import tracemalloc

import nibabel
import numpy as np
import PIL.Image
import pytest
from fuzz_images import NAMES, fuzz

from metavoxel.images.files import read_grid, read_header, read_image, write_labels, write_nifti, write_png
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image

AFFINE = np.array([[-2, 0, 0, 70], [0, 2.0, 0, -60], [0, 0, 3, -50], [0, 0, 0, 1]])


def _ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def _save(path, data, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_nifti_becomes_canonical(tmp_path, name, kind):
    data = _ramp(4, 5, 6).astype(kind)
    path = _save(tmp_path / name, data)
    image = read_image(path)
    assert image.data.dtype == np.float32
    np.testing.assert_array_equal(image.data, data[::-1])
    np.testing.assert_allclose(image.grid.affine[:, 3], AFFINE @ [3, 0, 0, 1])
    grid = read_grid(path)
    assert grid.shape == image.grid.shape
    np.testing.assert_array_equal(grid.affine, image.grid.affine)


def test_integers_are_scaled_by_their_slope(tmp_path):
    file = nibabel.Nifti1Image(_ramp(4, 5, 6).astype(np.int16), np.eye(4))
    file.header.set_slope_inter(0.5, 10)
    nibabel.save(file, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").data[0, 0, 2] == pytest.approx(2 * 0.5 + 10, abs=0.51)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ((4, 5, 6, 1), (4, 5, 6)),
        ((4, 5, 1), (4, 5)),
        ((4, 5, 1, 1), (4, 5)),
        ((4, 5), (4, 5)),
        ((1, 5, 6), (5, 6)),
        ((4, 1, 6), (4, 6)),
    ],
)
def test_single_voxel_axes_are_dropped(tmp_path, stored, read):
    path = _save(tmp_path / "a.nii.gz", _ramp(*stored), np.eye(4))
    assert read_image(path).data.shape == read
    assert read_grid(path).shape == read


@pytest.mark.parametrize("shape", [(4, 5, 6, 2), (4,), (1, 1, 1), (1, 5, 1), (1, 4, 5, 6)])
def test_other_axes_are_refused(tmp_path, shape):
    path = _save(tmp_path / "a.nii.gz", _ramp(*shape))
    for read in (read_grid, read_image):
        with pytest.raises(ValueError, match="2 or 3 axes"):
            read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_counted(tmp_path, bad):
    data = _ramp(4, 5, 6)
    data[1, 1, :2] = bad
    with pytest.raises(ValueError, match="2 of 120 voxels are NaN or infinite"):
        read_image(_save(tmp_path / "a.nii.gz", data))


def test_a_constant_image_is_refused(tmp_path):
    path = _save(tmp_path / "a.nii.gz", np.full((4, 5, 6), 7.0, np.float32))
    with pytest.raises(ValueError, match="constant: every voxel is 7"):
        read_image(path)
    assert read_image(path, constant=True).data.mean() == 7


@pytest.mark.parametrize("kind", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_voxels_that_are_not_real_numbers_are_refused(tmp_path, kind):
    path = _save(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), kind))
    with pytest.raises(ValueError, match="must be real numbers"):
        read_grid(path)


def test_a_singular_affine_is_refused(tmp_path):
    file = nibabel.Nifti1Image(_ramp(4, 5, 6), np.eye(4))
    file.header.set_sform(np.diag([1.0, 0, 1, 1]), code=1)
    file.header["qform_code"] = 0
    nibabel.save(file, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[280 + 16 : 280 + 32] = bytes(16)  # the second row of the sform
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(ValueError, match="affine is singular"):
        read_grid(tmp_path / "a.nii")


def _text(path):
    path.write_text("no image at all")


def _compressed_text(path):
    path.write_bytes(gzip.compress(b"no image at all" * 100))


def _empty(path):
    path.write_bytes(b"")


def _truncated(path):
    if path.suffix in (".png", ".jpg"):
        PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    else:
        _save(path, np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.png", "a.jpg"])
@pytest.mark.parametrize("damage", [_text, _compressed_text, _empty, _truncated])
def test_damaged_files_are_refused(tmp_path, name, damage):
    damage(tmp_path / name)
    with pytest.raises(ValueError, match=r"truncated|not a") as caught:
        read_image(tmp_path / name)
    assert str(caught.value).count(str(tmp_path / name)) == 1


def test_truncation_of_an_uncompressed_file_is_detected_from_its_header(tmp_path):
    _truncated(tmp_path / "a.nii")
    with pytest.raises(ValueError, match="truncated"):
        read_grid(tmp_path / "a.nii")


def test_a_missing_file_and_an_unknown_type(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_image(tmp_path / "a.nii")
    with pytest.raises(ValueError, match="no folder"):
        read_grid(tmp_path / "b" / "a.nii")
    with pytest.raises(ValueError, match=r"expected one of \.nii"):
        read_image(tmp_path / "a.npy")


def test_png_axes_run_right_and_up(tmp_path):
    pixels = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.data.shape == (3, 2)
    assert image.data[2, 0] == 60
    assert image.data[0, 1] == 10
    assert read_grid(tmp_path / "a.png").shape == (3, 2)


def test_16_bit_png_keeps_its_depth(tmp_path):
    PIL.Image.fromarray(np.array([[1000, 40000]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data[:, 0], [1000, 40000])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1"])
def test_colours_become_luminance(tmp_path, mode):
    PIL.Image.fromarray(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png").data[:, 0], [0, 255], atol=1)


def test_luminance_weighs_green_most(tmp_path):
    PIL.Image.fromarray(np.array([[[200, 0, 0], [0, 200, 0], [0, 0, 200]]], np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png").data[:, 0], [59.8, 117.4, 22.8], rtol=1e-5)


def test_exif_rotation_is_applied(tmp_path):
    picture = PIL.Image.fromarray(_ramp(8, 16).astype(np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").data.shape == (8, 16)
    assert read_grid(tmp_path / "a.jpg").shape == (8, 16)


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5)])
def test_nifti_round_trip(tmp_path, shape):
    affine = np.array([[2, 0.1, 0, -3], [-0.1, 2, 0, 4], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
    image = Image(_ramp(*shape) / 7, Grid(shape, affine))
    write_nifti(tmp_path / "a.nii.gz", image)
    file = nibabel.load(tmp_path / "a.nii.gz")
    assert file.ndim == 3
    assert file.get_data_dtype() == np.float32
    np.testing.assert_allclose(file.get_qform(), file.get_sform(), atol=1e-4)
    again = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.data, image.data)
    np.testing.assert_allclose(again.grid.affine, affine, atol=1e-6)


def test_png_round_trip_to_8_bits(tmp_path):
    image = Image(np.random.default_rng(0).uniform(-0.2, 1.2, (7, 5)).astype(np.float32), Grid((7, 5), np.eye(4)))
    write_png(tmp_path / "a.png", image)
    np.testing.assert_allclose(
        read_image(tmp_path / "a.png").data / 255, np.clip(image.data, 0, 1), atol=0.5 / 255 + 1e-6
    )


def test_a_volume_cannot_be_written_as_png(tmp_path):
    with pytest.raises(ValueError, match="2 axes"):
        write_png(tmp_path / "a.png", Image(_ramp(2, 2, 2), Grid((2, 2, 2), np.eye(4))))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("bids::a.nii.gz", "BIDS URIs"), ("~/a.nii", "~ is not expanded"), ("b\\a.nii", "between folders")],
)
def test_unsupported_path_syntax(tmp_path, name, remedy):
    with pytest.raises(ValueError, match=f"no such file.*{remedy}"):
        read_image(str(tmp_path / name))


def test_nan_voxels_are_replaced(tmp_path):
    data = _ramp(4, 5, 6) - 7
    truth = data.copy()
    data[0, 0, 0] = data[1, 2, 3] = np.nan
    path = _save(tmp_path / "a.nii.gz", data, np.eye(4))
    for nan, value in ((0, 0), (2.5, 2.5), ("minimum", -6)):
        truth[0, 0, 0] = truth[1, 2, 3] = value
        np.testing.assert_array_equal(read_image(path, nan=nan).data, truth)
    with pytest.raises(ValueError, match="set 'nan: 0' or 'nan: minimum' in the schema"):
        read_image(path)


def test_voxels_that_nan_does_not_replace(tmp_path):
    data = _ramp(4, 5, 6)
    data[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="1 infinite"):
        read_image(_save(tmp_path / "a.nii", data), nan=0)
    with pytest.raises(ValueError, match="all 120 voxels are NaN"):
        read_image(_save(tmp_path / "b.nii", np.full_like(data, np.nan)), nan="minimum")
    with pytest.raises(ValueError, match="beyond single"):
        read_image(_save(tmp_path / "c.nii", _ramp(4, 5, 6).astype(np.float64) * 1e300))


@pytest.mark.parametrize(("single", "kept"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_a_slice_has_the_positions_of_its_volume(tmp_path, single, kept, order, signs):
    """Each pixel, by its position in mm, has the intensity of the volume's voxel there; rotations are oblique by 10 degrees."""
    turn = np.deg2rad(10)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    columns = (rotation @ np.diag([2.0, 3.0, 4.0]) * signs)[:, order]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, [5, 6, 7]
    volume = np.random.default_rng(0).normal(size=tuple(np.array([6, 7, 8])[list(order)])).astype(np.float32)
    axis, at = order.index(single), 3
    cut = [slice(None)] * 3
    cut[axis] = slice(at, at + 1)
    moved = affine.copy()
    moved[:3, 3] += at * affine[:3, axis]
    image = read_image(_save(tmp_path / "a.nii", volume[tuple(cut)], moved))
    assert image.data.shape == tuple(np.array([6, 7, 8])[list(kept)])
    assert image.grid.orientation() == ((0, 1), (False, False))
    np.testing.assert_array_equal(image.grid.canonical().affine, image.grid.affine)
    for index in np.ndindex(image.data.shape):
        mm = image.grid.affine @ [*index, 0, 1]
        i, j, k = np.rint(np.linalg.solve(affine, mm)[:3]).astype(int)
        assert image.data[index] == volume[i, j, k]
    assert read_grid(tmp_path / "a.nii").shape == image.data.shape


def test_pictures_have_no_orientation(tmp_path):
    write_png(tmp_path / "a.png", Image(_ramp(4, 5) / 20, Grid((4, 5), np.eye(4))))
    assert read_header(tmp_path / "a.png").oriented is False


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_refused_or_read_correctly(tmp_path, name):
    tracemalloc.start()
    assert fuzz(tmp_path, name, 150) >= 10
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_damaged_files_are_refused_or_read_correctly(tmp_path, name):
    assert fuzz(tmp_path, name, 3000, seed=1) >= 200


def test_a_file_that_is_not_fetched(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to("../.git/annex/objects/aa/bb/MD5E-s1--x.nii.gz/MD5E-s1--x.nii.gz")
    (tmp_path / "b.nii.gz").write_text("/annex/objects/MD5E-s12--x.nii.gz\n")
    for name in ("a", "b"):
        for read in (read_grid, read_image):
            with pytest.raises(ValueError, match="not fetched.*datalad get"):
                read(tmp_path / f"{name}.nii.gz")


@pytest.mark.parametrize(
    ("labels", "kind"),
    [((0, 255), np.uint8), ((0, 256), np.int16), ((-1, 1), np.int16), ((-32769, 0), np.int32), ((0, 40000), np.int32)],
)
def test_labels_are_written_in_the_smallest_sufficient_integer_type(tmp_path, labels, kind):
    data = np.array(labels, np.float32)[np.random.default_rng(0).integers(0, 2, (5, 4, 3))]
    affine = np.diag([1.0, 2, 3, 1])
    write_labels(tmp_path / "a.nii.gz", Image(data, Grid((5, 4, 3), affine)), labels)
    file = nibabel.load(tmp_path / "a.nii.gz")
    assert file.get_data_dtype() == kind
    assert np.array_equal(np.asanyarray(file.dataobj), data)
    assert np.array_equal(file.affine, affine)
