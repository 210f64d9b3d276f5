import nibabel
import numpy as np
import PIL.Image
import pytest
import torch
from pydantic import ValidationError

from metavoxel.errors import CohortError
from metavoxel.images.files import read_image
from metavoxel.parts.adapters.grid import GridSummaryAdapterSpec
from metavoxel.parts.codecs.local_pca import LocalPCASpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.rng import Rng


def _volume(path, shape=(9, 10, 11), step=2.0, origin=(-8, -9, -10), seed=0):
    affine = np.diag([step, step, step, 1])
    affine[:3, 3] = origin
    data = np.random.default_rng(seed).uniform(10, 90, shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return str(path)


def _picture(path, shape=(6, 9)):
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, np.uint8)).save(path)
    return str(path)


def _round_trip(spec):
    return ImageSpec.model_validate(spec.model_dump(mode="json"))


def test_parts_suit_an_image():
    codec, kernel, adapter = ImageSpec().parts()
    assert isinstance(codec, LocalPCASpec)
    assert isinstance(kernel, GaussianKernel)
    assert isinstance(adapter, GridSummaryAdapterSpec)
    assert ImageSpec.lazy


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"path": "{a}.nii", "column": "a"}, "path and column"),
        ({"path": "{a}.nii", "entities": {"suffix": "T1w"}}, "path and entities"),
        ({"percentiles": (90, 10)}, "percentiles must rise"),
        ({"percentiles": (-1, 10)}, "percentiles must rise"),
        ({"spacing": 0}, "spacing"),
        ({"intensities": (40, 40)}, "intensities must rise"),
        ({"intensities": (0, float("inf"))}, "intensities must rise"),
        ({"intensities": (0, 1), "percentiles": (1, 99)}, "percentiles and intensities"),
        ({"nan": float("inf")}, "finite number or 'minimum'"),
        ({"template": "mni.nii.gz", "place": "box"}, "ignores"),
        ({"shape": (4,)}, "2 or 3 axes"),
        ({"affine": [[1, 0], [0, 1]]}, "4 rows of 4"),
        ({"spcaing": 1}, "spcaing"),
    ],
)
def test_contradictory_settings_are_rejected(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        ImageSpec(**settings)


def test_indices_of_entities_may_be_numbers():
    assert ImageSpec(entities={"run": 1}).entities == {"run": "1"}


def test_null_entities_are_kept():
    spec = ImageSpec(entities={"suffix": "T1w", "rec": None})
    assert spec.entities == {"suffix": "T1w", "rec": None}
    assert ImageSpec(**spec.model_dump(mode="json", exclude_none=True)).entities == spec.entities


@pytest.mark.parametrize(
    ("label", "reason"), [("", "'acq' is empty; write null"), (True, "valid string"), ([1], "string")]
)
def test_entities_are_labels(label, reason):
    with pytest.raises(ValidationError, match=reason):
        ImageSpec(entities={"acq": label})


def test_files_are_located_by_pattern_or_column(tmp_path):
    row = {"id": "sub-1", "M/F": "F", "Scan: file": "a.nii", "T1w": "b.nii", "gap": ""}
    assert ImageSpec(path="{id}/{M/F}_{Scan: file}").locate("T1w", row, tmp_path) == str(tmp_path / "sub-1/F_a.nii")
    assert ImageSpec(column="Scan: file").locate("T1w", row, tmp_path) == str(tmp_path / "a.nii")
    assert ImageSpec().locate("T1w", row, tmp_path) == str(tmp_path / "b.nii")
    assert ImageSpec(column="gap").locate("T1w", row, tmp_path) == ""
    assert ImageSpec(path="{gap}.nii").locate("T1w", row, tmp_path) == ""
    with pytest.raises(KeyError, match="nothing"):
        ImageSpec(path="{nothing}.nii").locate("T1w", row, tmp_path)


def test_the_shape_is_unknown_before_resolve():
    with pytest.raises(ValueError, match="not known before"):
        _ = ImageSpec().data_shape


def test_resolve_determines_shape_affine_and_extension(tmp_path):
    cells = [_volume(tmp_path / "a.nii.gz"), _volume(tmp_path / "b.nii.gz", (12, 9, 11))]
    spec = ImageSpec(spacing=2.0).resolve(cells, multiple=4)
    assert spec.shape == (12, 12, 12)
    assert spec.data_shape == (1, 12, 12, 12)
    assert spec.extension == ".nii.gz"
    np.testing.assert_allclose(np.array(spec.affine)[:3, 3], [-8, -9 - 2, -10])
    assert _round_trip(spec) == spec


def test_a_resolved_spec_keeps_its_shape_for_new_boxes(tmp_path):
    spec = ImageSpec(spacing=2.0, place="box").resolve([_volume(tmp_path / "a.nii.gz")], multiple=4)
    smaller, larger = _volume(tmp_path / "b.nii.gz", (5, 5, 5)), _volume(tmp_path / "c.nii.gz", (13, 9, 11))
    assert spec.resolve([smaller], multiple=4) == spec
    assert spec.resolve([], multiple=4) == spec
    with pytest.raises(CohortError, match=r"c\.nii\.gz: is 13x9x11 at 2, larger than") as caught:
        spec.resolve([smaller, larger], multiple=4)
    assert [problem.where for problem in caught.value.problems] == [larger]
    with pytest.raises(ValueError, match="larger than"):
        spec.parse(larger)
    with pytest.raises(CohortError, match="multiples of 8"):
        spec.resolve([smaller], multiple=8)


def test_without_spacing_new_boxes_must_have_the_old_spacing(tmp_path):
    spec = ImageSpec(place="box").resolve([_volume(tmp_path / "a.nii.gz")], multiple=4)
    with pytest.raises(ValueError, match="set 'spacing'"):
        spec.parse(_volume(tmp_path / "b.nii.gz", step=1.0))


def test_all_inconsistent_boxes_are_listed(tmp_path):
    good = [_volume(tmp_path / f"{index}.nii.gz") for index in range(3)]
    other = _volume(tmp_path / "other.nii.gz", (9, 10, 12))
    finer = _volume(tmp_path / "finer.nii.gz", step=1.0)
    flat = _picture(tmp_path / "flat.png")
    broken = tmp_path / "broken.nii.gz"
    broken.write_text("text")
    cells = [other, *good, flat, str(broken), finer, str(tmp_path / "gone.nii")]
    with pytest.raises(CohortError) as caught:
        ImageSpec(place="box").resolve(cells, multiple=1)
    reasons = {problem.where: problem.what for problem in caught.value.problems}
    assert reasons.keys() == set(cells) - set(good)
    assert "is 9x10x12 at 2, while most images are 9x10x11 at 2; set 'spacing'" in reasons[other]
    assert "9x10x11 at 1" in reasons[finer]
    assert "2 axes where most images of this variable have 3" in reasons[flat]
    assert "not a NIfTI file" in reasons[str(broken)]
    assert "no such file" in reasons[str(tmp_path / "gone.nii")]
    with pytest.raises(CohortError) as caught:
        ImageSpec(spacing=2.0).resolve(cells, multiple=1)
    assert {problem.where for problem in caught.value.problems} == {flat, str(broken), str(tmp_path / "gone.nii")}


def test_no_image_is_an_error():
    with pytest.raises(CohortError, match="no row has an image"):
        ImageSpec().resolve([], multiple=8)


def test_parse_scales_and_pads(tmp_path):
    cell = _volume(tmp_path / "a.nii.gz")
    spec = ImageSpec(percentiles=(5, 95)).resolve([cell], multiple=8)
    value, inside = spec.parse(cell), spec.inside(cell)
    assert value.shape == inside.shape == (1, 16, 16, 16)
    assert value.dtype == torch.float32
    assert int(inside.sum()) == 9 * 10 * 11
    low, high = np.percentile(read_image(cell).data, (5, 95))
    around = (read_image(cell).background() - low) / (high - low)
    np.testing.assert_allclose(value[~inside], around, atol=1e-6)
    original = read_image(cell).data.reshape(-1)
    low, high = np.percentile(original, (5, 95))
    expected = np.clip((original - low) / (high - low), 0, 1)
    np.testing.assert_allclose(value[inside].numpy(), expected, atol=1e-6)


def test_the_grid_of_a_file_has_the_world_coordinates_of_parsed_voxels(tmp_path):
    near, far = _volume(tmp_path / "a.nii.gz"), _volume(tmp_path / "b.nii.gz", origin=(30, 40, 50))
    spec = ImageSpec(spacing=4.0, place="box").resolve([near, far], multiple=4)
    grid = spec.grid(far)
    assert grid.shape == spec.shape
    inside = spec.inside(far)[0].numpy()
    centre = (grid.affine @ [*np.argwhere(inside).mean(0), 1])[:3]
    np.testing.assert_allclose(centre, [30 + 8, 40 + 9, 50 + 10], atol=1e-5)


def test_a_nearly_constant_image_is_an_error(tmp_path):
    data = np.zeros((10, 10, 10), np.float32)
    data[0, 0, 0] = 1
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    spec = ImageSpec().resolve([str(tmp_path / "a.nii")], multiple=1)
    with pytest.raises(ValueError, match=r"a\.nii: percentiles 0\.5 and 99\.5 .* are both 0"):
        spec.parse(str(tmp_path / "a.nii"))


def test_a_mask_lies_on_the_grid_of_its_image(tmp_path):
    cell = _volume(tmp_path / "a.nii.gz")
    spec = ImageSpec().resolve([cell], multiple=8)
    file = nibabel.load(cell)
    half = np.zeros(file.shape, np.uint8)
    half[:4] = 1
    nibabel.save(nibabel.Nifti1Image(half, file.affine), tmp_path / "mask.nii.gz")
    mask = spec.parse_mask(str(tmp_path / "mask.nii.gz"))
    assert mask.dtype == torch.bool
    assert int(mask.sum()) == 4 * 10 * 11
    assert not (mask & ~spec.inside(cell)).any()
    nibabel.save(nibabel.Nifti1Image(np.ones(file.shape, np.uint8), file.affine), tmp_path / "all.nii.gz")
    assert torch.equal(spec.parse_mask(str(tmp_path / "all.nii.gz")), spec.inside(cell))


@pytest.mark.parametrize("like", [True, False])
def test_files_written_have_the_affine_of_the_image(tmp_path, like):
    first, cell = _volume(tmp_path / "a.nii.gz"), _volume(tmp_path / "b.nii.gz", origin=(30, 40, 50))
    spec = _round_trip(ImageSpec(place="box").resolve([first, cell], multiple=8))
    value = spec.parse(cell)
    cells = spec.write("T1w", value, folder=tmp_path / "out", stem="draw-1", like=cell if like else None)
    assert cells == {"T1w": "draw-1_T1w.nii.gz"}
    written = read_image(tmp_path / "out" / "draw-1_T1w.nii.gz")
    np.testing.assert_array_equal(written.data, value[0].numpy())
    np.testing.assert_allclose(written.grid.affine, spec.grid(cell if like else first).affine)


def test_pngs_are_written_as_pngs(tmp_path):
    cell = _picture(tmp_path / "a.png")
    spec = ImageSpec().resolve([cell], multiple=4)
    assert spec.data_shape == (1, 12, 8)
    value = spec.parse(cell)
    for like in (None, cell):
        assert spec.write("slice", value, folder=tmp_path, stem="s", like=like) == {"slice": "s_slice.png"}
        np.testing.assert_allclose(read_image(tmp_path / "s_slice.png").data / 255, value[0].numpy(), atol=0.002)


def test_2d_nifti_is_written_as_nifti(tmp_path):
    cell = _volume(tmp_path / "a.nii.gz", (8, 12, 1))
    spec = ImageSpec().resolve([cell], multiple=4)
    assert spec.data_shape == (1, 8, 12)
    assert spec.write("T1w", spec.parse(cell), folder=tmp_path, stem="s") == {"T1w": "s_T1w.nii.gz"}
    np.testing.assert_allclose(read_image(tmp_path / "s_T1w.nii.gz").grid.affine, read_image(cell).grid.affine)


def test_format_describes_the_shape():
    assert ImageSpec().format(torch.zeros(1, 4, 5, 6)) == "image of 4x5x6 voxels"


def test_images_of_one_stream_have_the_same_augmentation():
    """Two 2-D images are shifted equally; a 2-D and a 3-D image are mirrored together."""
    ramps = {axes: torch.arange(8.0).reshape(8, *[1] * (axes - 1)).expand(*[8] * axes) / 8 for axes in (2, 3)}
    spec, rng = ImageSpec(flip=True, shifts=2, jitter=0), Rng.for_rows(40, "alike")
    augmented = {axes: spec.augment(ramp.expand(40, 1, *ramp.shape), rng[:]) for axes, ramp in ramps.items()}
    again = spec.augment(1 - ramps[2].expand(40, 1, 8, 8), rng[:])
    torch.testing.assert_close(again, 1 - augmented[2])
    torch.testing.assert_close(augmented[2][:, 0, :, 0], augmented[3][:, 0, :, 0, 0])
    rises = augmented[2][:, 0, :, 0].diff(dim=1).median(1).values > 0
    assert 5 < int(rises.sum()) < 35, "some are mirrored and some are not"


def test_intensities_keep_quantitative_values_and_unit(tmp_path):
    """Cerebral blood flow maps that differ by a factor: scaling by percentiles makes them equal."""
    base = nibabel.load(_volume(tmp_path / "base.nii.gz", (8, 8, 8)))
    cells = []
    for flow in (80, 50, 25):
        cells.append(str(tmp_path / f"{flow}.nii.gz"))
        nibabel.save(nibabel.Nifti1Image((base.get_fdata() * flow / 40).astype(np.float32), base.affine), cells[-1])
    by_percentiles = ImageSpec().resolve(cells, multiple=4)
    assert (by_percentiles.parse(cells[0]) - by_percentiles.parse(cells[2])).abs().max() < 1e-5
    spec = _round_trip(ImageSpec(intensities=(0, 250)).resolve(cells, multiple=4))
    levels = [float(spec.parse(cell).mean()) for cell in cells]
    want = [float(nibabel.load(cell).get_fdata().mean()) / 250 for cell in cells]
    np.testing.assert_allclose(levels, want, rtol=1e-5)
    spec.write("CBF", spec.parse(cells[1]), folder=tmp_path, stem="draw")
    written = nibabel.load(tmp_path / "draw_CBF.nii.gz").get_fdata()
    np.testing.assert_allclose(written, nibabel.load(cells[1]).get_fdata(), atol=1e-3)
    again = torch.from_numpy(read_image(tmp_path / "draw_CBF.nii.gz").data)[None]
    torch.testing.assert_close(spec.rescaled(again), spec.parse(cells[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("background", [0.4, -1024.0])
def test_margins_have_the_intensity_of_the_background(tmp_path, background):
    large, small = np.full((24, 24, 24), background), np.full((16, 16, 16), background)
    large[8:16, 8:16, 8:16] = small[4:12, 4:12, 4:12] = background - 0.3
    large[10, 10, 10] = small[6, 6, 6] = background + 2
    nibabel.save(nibabel.Nifti1Image(large.astype(np.float32), np.eye(4)), tmp_path / "large.nii.gz")
    affine = np.eye(4)
    affine[:3, 3] = 4
    nibabel.save(nibabel.Nifti1Image(small.astype(np.float32), affine), tmp_path / "small.nii.gz")
    cells = [str(tmp_path / "large.nii.gz"), str(tmp_path / "small.nii.gz")]
    for place in ("world", "box"):
        spec = ImageSpec(place=place, spacing=1.0, intensities=(background - 1, background + 2)).resolve(
            cells, multiple=8
        )
        torch.testing.assert_close(spec.parse(cells[0]), spec.parse(cells[1]))


def test_optional_files_may_be_missing(tmp_path):
    _volume(tmp_path / "a.nii.gz")
    (tmp_path / "unfetched.nii.gz").symlink_to(".git/annex/objects/x.nii.gz")
    spec = ImageSpec(path="{id}.nii.gz", optional=True)
    assert spec.locate("T1w", {"id": "a"}, tmp_path) == str(tmp_path / "a.nii.gz")
    assert spec.locate("T1w", {"id": "b"}, tmp_path) == ""
    assert spec.locate("T1w", {"id": "unfetched"}, tmp_path) != "", "not fetched is not missing"
    assert ImageSpec(path="{id}.nii.gz").locate("T1w", {"id": "b"}, tmp_path) != ""


def test_a_spacing_wider_than_the_images_is_an_error(tmp_path):
    """For example a spacing in micrometres, as in the headers; grids are in mm."""
    cells = [str(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz")]
    for cell in cells:
        image = nibabel.Nifti1Image(
            np.arange(16**3, dtype=np.float32).reshape(16, 16, 16), np.diag([200, 200, 200, 1.0])
        )
        image.header.set_xyzt_units("micron")
        nibabel.save(image, cell)
    for place in ("world", "box"):
        with pytest.raises(CohortError) as caught:
            ImageSpec(spacing=400, place=place).resolve(cells, multiple=4)
        (problem,) = caught.value.problems
        assert problem.where == cells[0]
        assert problem.what.startswith(
            "is one of 2 (of 2) files that 'spacing: 400' would reduce to one voxel: it is 3.2 mm"
        )
    assert ImageSpec(spacing=0.4).resolve(cells, multiple=4).shape == (8, 8, 8)


def test_an_empty_mask_is_valid_with_intensities(tmp_path):
    empty = str(tmp_path / "empty.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), empty)
    with pytest.raises(ValueError, match=r"every voxel is 0; if that is valid.* set 'intensities: \[low, high\]'"):
        ImageSpec().resolve([empty], multiple=1).parse(empty)
    assert (ImageSpec(intensities=(0, 1)).resolve([empty], multiple=1).parse(empty) == 0).all()
