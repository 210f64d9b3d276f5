import nibabel
import numpy as np
import pytest

from metavoxel.images.files import read_grid, read_header, read_image

AFFINE = np.array([[-1.0, 0, 0, 60], [0, 0, 1.5, -70], [0, -2, 0, 80], [0, 0, 0, 1]])


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_freesurfer_volumes(tmp_path, name, kind):
    data = np.random.default_rng(0).integers(0, 200, (4, 5, 6)).astype(kind)
    nibabel.save(nibabel.MGHImage(data, AFFINE), tmp_path / name)
    truth = nibabel.as_closest_canonical(nibabel.Nifti1Image(data.astype(float), AFFINE))
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.data, truth.get_fdata())
    np.testing.assert_allclose(image.grid.affine, truth.affine, atol=1e-5)
    header = read_header(tmp_path / name)
    np.testing.assert_array_equal(header.grid.affine, image.grid.affine)
    assert header.oriented


def test_tags_after_the_voxels_are_allowed(tmp_path):
    data = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    nibabel.save(nibabel.MGHImage(data, np.eye(4)), tmp_path / "a.mgh")
    with (tmp_path / "a.mgh").open("ab") as file:
        file.write(b"mri_convert -i x.nii -o y.mgz" * 100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.mgh").data, data)


def test_an_unset_good_ras_flag(tmp_path):
    """Without valid coordinates: FreeSurfer's default (coronal) axes at 1 mm, and unknown orientation."""
    nibabel.save(nibabel.MGHImage(np.arange(120, dtype=np.int16).reshape(4, 5, 6), AFFINE), tmp_path / "a.mgh")
    raw = bytearray((tmp_path / "a.mgh").read_bytes())
    raw[28:30] = bytes(2)
    (tmp_path / "a.mgh").write_bytes(raw)
    header = read_header(tmp_path / "a.mgh")
    assert (header.grid.spacing, header.oriented) == ((1, 1, 1), False)


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-100], lambda raw: raw[:100], lambda raw: b"", lambda raw: b"x" + raw]
)
def test_damaged_volumes(tmp_path, damage):
    nibabel.save(nibabel.MGHImage(np.arange(120, dtype=np.int16).reshape(4, 5, 6), AFFINE), tmp_path / "a.mgh")
    (tmp_path / "a.mgh").write_bytes(damage((tmp_path / "a.mgh").read_bytes()))
    with pytest.raises(ValueError, match="truncated"):
        read_grid(tmp_path / "a.mgh")


def test_frames_are_refused(tmp_path):
    nibabel.save(nibabel.MGHImage(np.zeros((4, 5, 6, 2), np.int16), AFFINE), tmp_path / "a.mgz")
    with pytest.raises(ValueError, match="2 or 3 axes"):
        read_grid(tmp_path / "a.mgz")
