import numpy as np
import pytest

from metavoxel.images.files import read_grid, read_header, read_image

itk = pytest.importorskip("SimpleITK")

TURN = np.deg2rad(15)
SAGITTAL = np.array([[0, 1.0, 0], [0, 0, -1.0]])
OBLIQUE = np.array([[np.cos(TURN), np.sin(TURN), 0], [-np.sin(TURN), np.cos(TURN), 0]])
AXIAL = np.eye(3)[:2]


def _series(
    folder, data, directions, *, step=None, skip=(), uid="1.2.3", name="T1", slope=(1, 0), origin=(10, -20, 30)
):
    """Save slices of ``data`` (column, row, slice) under shuffled names; return the map from voxel indices to mm (RAS)."""
    folder.mkdir(exist_ok=True)
    spacing, origin = np.array([1.5, 2.0]), np.array(origin, float)
    step = np.cross(*directions) * 3 if step is None else np.asarray(step, float)
    writer = itk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(data.shape[2]):
        if number in skip:
            continue
        image = itk.GetImageFromArray(np.ascontiguousarray(data[:, :, number].T))
        image.SetSpacing(spacing.tolist())
        tags = {
            "0008|0060": "MR",
            "0008|103e": name,
            "0020|000d": "1.2",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{value:.10g}" for value in origin + number * step),
            "0020|0037": "\\".join(f"{value:.10g}" for value in np.ravel(directions)),
            "0028|1053": str(slope[0]),
            "0028|1052": str(slope[1]),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}-{(number * 7) % 11:02d}.dcm"))
        writer.Execute(image)
    columns = np.column_stack([directions[0] * spacing[0], directions[1] * spacing[1], step])
    return lambda index: (columns @ index + origin) * [-1, -1, 1]


DATA = np.random.default_rng(0).integers(0, 900, (4, 5, 6)).astype(np.int16)


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
@pytest.mark.parametrize("tilt", [False, True])
def test_voxels_keep_their_positions(tmp_path, directions, tilt):
    step = np.cross(*directions) * 3 + (directions[1] * 0.7 if tilt else 0)
    mm = _series(tmp_path / "scan", DATA, directions, step=step)
    image = read_image(tmp_path / "scan")
    header = read_header(tmp_path / "scan")
    np.testing.assert_array_equal(header.grid.affine, image.grid.affine)
    assert header.oriented
    to_voxel = np.linalg.inv(image.grid.affine)
    for index in np.ndindex(DATA.shape):
        at = (to_voxel @ [*mm(np.array(index)), 1])[:3]
        np.testing.assert_allclose(at, np.rint(at), atol=1e-4)
        assert image.data[tuple(np.rint(at).astype(int))] == DATA[index]


def test_a_slope_is_applied(tmp_path):
    """SimpleITK stores the written values with slope and intercept removed."""
    _series(tmp_path / "scan", DATA * 2, AXIAL, slope=(2, -1024))
    np.testing.assert_array_equal(read_image(tmp_path / "scan").data, 2 * DATA[::-1, ::-1].astype(float))


def test_a_single_slice(tmp_path):
    _series(tmp_path / "scan", DATA[:, :, :1], SAGITTAL)
    for path in (tmp_path / "scan", next((tmp_path / "scan").iterdir())):
        assert read_image(path).data.shape == (4, 5)
        assert read_header(path).oriented


def test_a_missing_slice_is_detected(tmp_path):
    _series(tmp_path / "scan", DATA, OBLIQUE, skip=(2,))
    with pytest.raises(ValueError, match="3 mm apart, but .* 6 mm: some are missing"):
        read_grid(tmp_path / "scan")


def test_slices_at_one_position_are_refused(tmp_path):
    _series(tmp_path / "scan", DATA, AXIAL, step=[0, 0, 0])
    with pytest.raises(ValueError, match="at one position"):
        read_grid(tmp_path / "scan")


def test_several_series_are_listed(tmp_path):
    _series(tmp_path / "scan", DATA, AXIAL, name="T1 mprage")
    _series(tmp_path / "scan", DATA[:, :, :3], AXIAL, uid="1.2.4", name="T2 tse")
    with pytest.raises(ValueError, match=r"2 DICOM series.*T1 mprage \(6 files\); T2 tse \(3 files\)"):
        read_grid(tmp_path / "scan")


def test_a_folder_without_images(tmp_path):
    (tmp_path / "a.txt").write_text("nothing")
    for read in (read_grid, read_image):
        with pytest.raises(ValueError, match="without DICOM images"):
            read(tmp_path)


def test_a_projection_is_a_picture(tmp_path):
    """Without a position in space: as displayed, x to the right and y up, with the size of its pixels."""
    image = itk.GetImageFromArray(np.array([[10, 20, 30], [40, 50, 60]], np.int16))
    image.SetSpacing([0.5, 0.7])
    image.SetMetaData("0008|0060", "DX")
    image.SetMetaData("0028|0030", "0.7\\0.5")
    itk.WriteImage(image, str(tmp_path / "a.dcm"))
    read = read_image(tmp_path / "a.dcm")
    if not read_header(tmp_path / "a.dcm").oriented:
        np.testing.assert_array_equal(read.data, [[40, 10], [50, 20], [60, 30]])
        assert read.grid.spacing == pytest.approx((0.5, 0.7))


def test_a_truncated_file(tmp_path):
    _series(tmp_path / "scan", DATA, AXIAL)
    file = next((tmp_path / "scan").iterdir())
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match="truncated"):
        read_image(tmp_path / "scan")
