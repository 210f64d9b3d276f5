import gzip
import os
import struct

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metavoxel.images.files import read_grid, read_header, read_image

AFFINE = np.array([[4, 0, 0, -16], [0, 4.0, 0, -12], [0, 0, 4, -8], [0, 0, 0, 1]])
DATA = np.random.default_rng(0).normal(100, 20, (5, 6, 7)).astype(np.float32)


def _raw(data=DATA, affine=AFFINE):
    return bytearray(nibabel.Nifti1Image(data, affine).to_bytes())


def _put(raw, at, form, *values):
    raw[at : at + struct.calcsize(form)] = struct.pack(form, *values)
    return raw


def _file(tmp_path, raw, name="a.nii"):
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    return tmp_path / name


BOTH = pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])


@BOTH
@pytest.mark.parametrize("offset", [0, 1, 348, 352])
def test_voxels_never_begin_in_the_header(tmp_path, name, offset):
    path = _file(tmp_path, _put(_raw(), 108, "<f", offset), name)
    np.testing.assert_array_equal(read_image(path).data, DATA)


@BOTH
@pytest.mark.parametrize("offset", [np.nan, np.inf, -352, 352.5, 3.0e38, 368])
def test_invalid_offsets(tmp_path, name, offset):
    with pytest.raises(ValueError, match="begin at byte|cannot hold|truncated"):
        read_image(_file(tmp_path, _put(_raw(), 108, "<f", offset), name))


def test_an_extension_lies_before_the_voxels(tmp_path):
    file = nibabel.Nifti1Image(DATA, AFFINE)
    file.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 1000))
    nibabel.save(file, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").data, DATA)


@BOTH
@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((5, 6, 28), "truncated"),
        ((32767, 32767, 32767), "more than the maximum of 2147483648"),
        ((2000, 1000, 1000), "cannot hold"),
        ((5, 6, 3), "holds more"),
        ((5, 0, 7), "2 or 3 axes"),
        ((5, -6, 7), "2 or 3 axes"),
    ],
)
def test_wrong_sizes_in_the_header(tmp_path, name, shape, reason):
    with pytest.raises(ValueError, match=reason):
        read_image(_file(tmp_path, _put(_raw(), 42, "<3h", *shape), name))


def test_a_huge_claim_is_refused_by_the_header(tmp_path):
    for name in ("a.nii", "a.nii.gz"):
        with pytest.raises(ValueError, match="cannot hold"):
            read_grid(_file(tmp_path, _put(_raw(), 42, "<3h", 2000, 1000, 1000), name))


def test_a_fourth_axis_of_size_0_is_dropped(tmp_path):
    """As the reference library (nifti_clib) reads it."""
    path = _file(tmp_path, _put(_raw(), 40, "<5h", 4, 5, 6, 7, 0))
    np.testing.assert_array_equal(read_image(path).data, DATA)


def _without_forms(raw):
    return _put(raw, 252, "<2h", 0, 0)


@pytest.mark.parametrize("steps", [(0, 4, 4), (0, 0, 0), (4, 4, np.nan), (4, 4, np.inf)])
def test_invalid_voxel_sizes_are_refused(tmp_path, steps):
    raw = _without_forms(_put(_raw(), 80, "<3f", *steps))
    with pytest.raises(ValueError, match="no valid voxel size|affine is singular or not finite"):
        read_grid(_file(tmp_path, raw))
    raw = _put(_put(_raw(), 80, "<3f", *steps), 252, "<2h", 1, 0)
    with pytest.raises(ValueError, match="no valid voxel size|affine is singular or not finite"):
        read_grid(_file(tmp_path, raw))


def test_a_good_sform_needs_no_pixdim(tmp_path):
    grid = read_grid(_file(tmp_path, _put(_raw(), 80, "<3f", 0, 0, 0)))
    np.testing.assert_allclose(grid.affine, AFFINE)


def test_negative_voxel_sizes_count_by_their_absolute_value(tmp_path):
    raw = _put(_raw(), 80, "<3f", -4, -4, 4)
    assert read_grid(_file(tmp_path, _without_forms(bytearray(raw)))).spacing == (4, 4, 4)
    assert read_grid(_file(tmp_path, _put(raw, 252, "<2h", 1, 0))).spacing == (4, 4, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_sform_that_is_not_finite(tmp_path, value):
    with pytest.raises(ValueError, match="not finite"):
        read_grid(_file(tmp_path, _put(_raw(), 280, "<f", value)))


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
@pytest.mark.parametrize("forms", ["sform", "qform", "none"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_positions_are_in_mm_for_every_unit(tmp_path, code, factor, forms, kind):
    stored = AFFINE.copy()
    stored[:3] /= factor
    file = kind(DATA, stored)
    file.header["xyzt_units"] = code + 8  # and seconds
    file.set_sform(stored, 1 if forms == "sform" else 0)
    file.set_qform(stored, 1 if forms != "none" else 0)
    nibabel.save(file, tmp_path / "a.nii.gz")
    grid = read_grid(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(grid.spacing, (4, 4, 4), rtol=1e-6)
    if forms != "none":
        np.testing.assert_allclose(grid.affine, AFFINE, rtol=1e-5)
    assert read_header(tmp_path / "a.nii.gz").oriented is (forms != "none")


@pytest.mark.parametrize(
    ("slope", "inter", "truth"),
    [
        (0.5, 10, lambda x: x * 0.5 + 10),
        (0, 5, lambda x: x),
        (np.nan, np.nan, lambda x: x),
        (np.inf, 0, lambda x: x),
        (-1, 4000, lambda x: 4000 - x),
    ],
)
def test_slopes_follow_the_standard(tmp_path, slope, inter, truth):
    stored = DATA.astype(np.int16)
    path = _file(tmp_path, _put(_raw(stored), 112, "<2f", slope, inter))
    np.testing.assert_array_equal(read_image(path).data, truth(stored.astype(float)))


def test_a_slope_without_an_intercept_is_refused(tmp_path):
    with pytest.raises(ValueError, match="intercept"):
        read_image(_file(tmp_path, _put(_raw(DATA.astype(np.int16)), 112, "<2f", 2, np.nan)))


@pytest.mark.parametrize(("name", "packed"), [("a.nii.gz", False), ("a.nii", True), ("A.NII.GZ", True)])
def test_compression_is_detected_from_the_content(tmp_path, name, packed):
    (tmp_path / name).write_bytes(gzip.compress(_raw()) if packed else _raw())
    np.testing.assert_array_equal(read_image(tmp_path / name).data, DATA)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("named", [".hdr", ".img"])
def test_a_pair_is_read_by_either_name(tmp_path, named, end):
    nibabel.save(nibabel.Nifti1Pair(DATA, AFFINE), tmp_path / f"a.img{end}")
    image = read_image(tmp_path / f"a{named}{end}")
    np.testing.assert_array_equal(image.data, DATA)
    np.testing.assert_allclose(image.grid.affine, AFFINE)
    os.remove(tmp_path / f"a{'.img' if named == '.hdr' else '.hdr'}{end}")
    with pytest.raises(ValueError, match="missing beside it"):
        read_grid(tmp_path / f"a{named}{end}")


def test_analyze_has_sizes_and_no_orientation(tmp_path):
    stored = DATA.astype(np.int16)
    file = nibabel.AnalyzeImage(stored, np.diag([-2, 3, 4, 1.0]))
    nibabel.save(file, tmp_path / "a.img")
    header = read_header(tmp_path / "a.hdr")
    assert (header.grid.spacing, header.oriented) == ((2, 3, 4), False)
    truth = nibabel.as_closest_canonical(nibabel.load(tmp_path / "a.img"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.img").data, truth.get_fdata())


def test_headers_of_the_other_file_layout_are_refused(tmp_path):
    raw = _raw()
    raw[344:348] = b"ni1\0"
    with pytest.raises(ValueError, match="not the header of a single NIfTI file"):
        read_grid(_file(tmp_path, raw))
    with pytest.raises(ValueError, match="not the header of a pair"):
        read_grid(_file(tmp_path, _raw(), "a.hdr"))


KINDS = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]
_FINITE = st.floats(-1000, 1000, width=32)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_header_is_read_as_by_nibabel(tmp_path_factory, data):
    """Types, byte orders, shapes, slopes, forms: the same voxels at the same positions."""
    shape = data.draw(st.lists(st.integers(2, 6), min_size=3, max_size=3), label="shape")
    kind = np.dtype(data.draw(st.sampled_from(KINDS), label="kind"))
    order = data.draw(st.sampled_from("<>"), label="order")
    form = data.draw(st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]), label="form")
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.3, 5, 3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, rng.normal(size=3) * 50
    stored = (
        rng.normal(size=shape) * 100
        if kind.kind == "f"
        else rng.integers(max(np.iinfo(kind).min, -(2**40)), min(np.iinfo(kind).max, 2**40), shape)
    )
    header = form.header_class(endianness=order)
    header.set_data_dtype(kind.newbyteorder(order))
    file = form(stored.astype(kind.newbyteorder(order)), affine, header)
    file.set_sform(affine, data.draw(st.integers(0, 4), label="sform"))
    file.set_qform(affine, data.draw(st.integers(0, 4), label="qform"))
    raw = bytearray(file.to_bytes())
    slope, inter = data.draw(st.tuples(_FINITE, _FINITE), label="slope")
    at, number = (112, "f") if form is nibabel.Nifti1Image else (176, "d")
    raw = _put(raw, at, f"{order}2{number}", slope, inter)
    path = _file(tmp_path_factory.mktemp("any"), raw, data.draw(st.sampled_from(["a.nii", "a.nii.gz"])))
    truth = nibabel.as_closest_canonical(nibabel.load(path))
    image = read_image(path, constant=True)
    values = truth.get_fdata(dtype=np.float64)
    largest = np.abs(stored).max() * max(1, abs(slope)) + abs(inter) + 1
    np.testing.assert_allclose(image.data, values, rtol=1e-6, atol=1e-6 * largest)
    np.testing.assert_allclose(image.grid.affine, truth.affine, rtol=1e-6, atol=1e-4)
