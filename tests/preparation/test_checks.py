import nibabel
import numpy as np
import pytest

from metavoxel.preparation.checks import read_head


def _saved(path, data, affine=None, codes=(1, 1), units="mm"):
    file = nibabel.Nifti1Image(data, np.diag([6.0, 6, 6, 1]) if affine is None else affine)
    file.header.set_xyzt_units(units)
    file.set_sform(file.affine, codes[0])
    file.set_qform(file.affine, codes[1])
    nibabel.save(file, path)
    return str(path)


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(1, 1000, (30, 30, 30)).astype(np.float32)


def test_a_head_is_read(tmp_path, noise):
    assert read_head(_saved(tmp_path / "a.nii.gz", noise)).grid.shape == (30, 30, 30)


def test_microns_are_converted(tmp_path, noise):
    path = _saved(tmp_path / "a.nii.gz", noise, np.diag([6000.0, 6000, 6000, 1]), units="micron")
    assert read_head(path).grid.spacing == pytest.approx((6, 6, 6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": (0, 0)}, "no usable orientation"),
        ({"affine": np.diag([6.0, 6, 60, 1])}, "anisotropy above 6"),
        ({"affine": np.diag([2.0, 2, 2, 1])}, "the head is cut, or the header has a wrong unit"),
        ({"affine": np.diag([6000.0, 6000, 6000, 1])}, "wrong unit"),
        ({"data": lambda x: x[..., None].repeat(3, 3)}, "2 or 3 axes"),
        ({"data": lambda x: x[:, :, :2]}, "fewer than 3 slices"),
        ({"data": lambda x: 0 * x + 7}, "constant"),
        ({"data": lambda x: x * np.nan}, "NaN"),
        ({"data": lambda x: (x > 500).astype(np.float32)}, "label map"),
        ({"data": lambda x: x - 1024}, "looks like CT"),
    ],
)
def test_what_is_no_head_is_refused_by_name(tmp_path, noise, change, message):
    data = change.get("data", lambda x: x)(noise)
    path = _saved(tmp_path / "a.nii.gz", data, change.get("affine"), change.get("codes", (1, 1)))
    with pytest.raises(ValueError, match=message):
        read_head(path)


def test_several_reasons_are_given_at_once(tmp_path, noise):
    path = _saved(tmp_path / "a.nii.gz", noise, np.diag([1.0, 1, 20, 1]), codes=(0, 0))
    with pytest.raises(ValueError, match=r"orientation.*anisotropy.*field of view"):
        read_head(path)


def test_zero_determinant_and_truncation(tmp_path, noise):
    path = _saved(tmp_path / "a.nii", noise)
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[280:296] = bytes(16)  # the first row of the sform
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ValueError, match="singular"):
        read_head(path)
    path = _saved(tmp_path / "b.nii", noise)
    (tmp_path / "b.nii").write_bytes((tmp_path / "b.nii").read_bytes()[:5000])
    with pytest.raises(ValueError, match="truncated"):
        read_head(path)
