import contextlib
import sys

import numpy as np
import pytest

from metavoxel.images.files import read_grid, read_header, read_image

itk = pytest.importorskip("SimpleITK")
NAMES = ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"]


def _oblique():
    """Direction cosines (LPS), spacing and origin of a scan rotated by 20 degrees, with its first axis reversed."""
    turn = np.deg2rad(20)
    directions = np.array([[-np.cos(turn), -np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return directions, np.array([1.5, 2.0, 3.0]), np.array([11.0, -22.0, 33.0])


def _write(path, data, compressed=False):
    """Save ``data`` (x, y, z); return the map from voxel indices to mm (RAS)."""
    directions, spacing, origin = _oblique()
    image = itk.GetImageFromArray(data.T)
    image.SetDirection(directions.ravel().tolist())
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    itk.WriteImage(image, str(path), compressed)
    return lambda index: (directions @ (spacing * index) + origin) * [-1, -1, 1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_voxels_keep_their_positions(tmp_path, name, compressed, kind):
    data = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(kind)
    mm = _write(tmp_path / name, data, compressed)
    image = read_image(tmp_path / name)
    header = read_header(tmp_path / name)
    np.testing.assert_array_equal(header.grid.affine, image.grid.affine)
    assert header.oriented
    assert image.grid.orientation() == ((0, 1, 2), (False, False, False))
    to_voxel = np.linalg.inv(image.grid.affine)
    for index in np.ndindex(4, 5, 6):
        at = (to_voxel @ [*mm(np.array(index)), 1])[:3]
        np.testing.assert_allclose(at, np.rint(at), atol=1e-6)
        assert image.data[tuple(np.rint(at).astype(int))] == data[index]


def test_microns_of_nrrd_become_mm(tmp_path):
    _write(tmp_path / "a.nrrd", np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    mm = read_grid(tmp_path / "a.nrrd")
    raw = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(raw.replace(b"\nencoding", b'\nspace units: "um" "um" "um"\nencoding'))
    np.testing.assert_allclose(read_grid(tmp_path / "a.nrrd").affine[:3], mm.affine[:3] / 1000)


def test_headers_without_orientation(tmp_path):
    data = np.arange(120, dtype="<f4").reshape(4, 5, 6)
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementSpacing = 2 3 4\nElementType = MET_FLOAT\n"
        b"ElementDataFile = LOCAL\n" + data.tobytes("F")
    )
    header = read_header(tmp_path / "a.mha")
    assert (header.grid.spacing, header.oriented) == ((2, 3, 4), False)
    np.testing.assert_array_equal(read_image(tmp_path / "a.mha").data, data[::-1, ::-1])


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_files(tmp_path, name, compressed):
    _write(tmp_path / name, np.random.default_rng(0).integers(0, 250, (9, 9, 9)).astype(np.int16), compressed)
    raw = (tmp_path / name).read_bytes()
    for cut in (raw[:-100], raw[:60], b""):
        (tmp_path / name).write_bytes(cut)
        with pytest.raises(ValueError, match="truncated"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_flipped_bits_of_a_compressed_stream(tmp_path, name):
    data = np.random.default_rng(0).integers(0, 250, (9, 9, 9)).astype(np.int16)
    _write(tmp_path / name, data, True)
    truth = read_image(tmp_path / name).data
    raw, rng = (tmp_path / name).read_bytes(), np.random.default_rng(1)
    for at in rng.integers(len(raw) - 500, len(raw), 60):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << rng.integers(8)
        (tmp_path / name).write_bytes(damaged)
        with contextlib.suppress(ValueError):
            np.testing.assert_array_equal(read_image(tmp_path / name).data, truth)


def test_a_huge_claim_is_refused_by_the_header(tmp_path):
    _write(tmp_path / "a.mha", np.zeros((4, 5, 6), np.int16))
    raw = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(raw.replace(b"DimSize = 4 5 6", b"DimSize = 4 5 6000000"))
    with pytest.raises(ValueError, match="truncated"):
        read_grid(tmp_path / "a.mha")


def test_colours_are_refused(tmp_path):
    itk.WriteImage(itk.GetImageFromArray(np.zeros((6, 5, 4, 3), np.uint8), isVector=True), str(tmp_path / "a.nrrd"))
    with pytest.raises(ValueError, match="must be real numbers"):
        read_grid(tmp_path / "a.nrrd")


def test_a_missing_simpleitk_is_reported(tmp_path, monkeypatch):
    _write(tmp_path / "a.nrrd", np.zeros((4, 5, 6), np.int16))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ValueError, match=r'pip install "metavoxel\[formats\]"'):
        read_grid(tmp_path / "a.nrrd")
