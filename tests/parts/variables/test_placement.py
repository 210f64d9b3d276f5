"""Placement of images by world coordinates in mm."""

import nibabel
import numpy as np
import pytest

from metavoxel.errors import CohortError
from metavoxel.parts.variables.image import ImageSpec


def _head(path, affine, shape=(32, 32, 32), seed=0):
    """A ball of 40 mm about the origin, its brightest spot at (20, 12, 8) mm."""
    places = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    ball = 1 / (1 + np.exp((np.linalg.norm(places, axis=1) - 40) / 2))
    spot = 1.5 * np.exp(-((np.linalg.norm(places - [20, 12, 8], axis=1) / 9) ** 2))
    noise = np.random.default_rng(seed).uniform(0, 0.02, len(places))
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (1000 * (ball + spot + noise)).reshape(shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return str(path)


def _spot(spec, value):
    """World coordinates of the brightest spot, in mm."""
    data = value[0].numpy()
    bright = np.argwhere(data > 0.75 * data.max())
    weights = data[tuple(bright.T)] - 0.75 * data.max()
    affine = np.array(spec.affine)
    return affine[:3, :3] @ (weights @ bright / weights.sum()) + affine[:3, 3]


def _box(step, origin, degrees=0.0):
    turn = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] *= step
    affine[:3, 3] = origin if degrees == 0 else -affine[:3, :3] @ np.full(3, 15.5)
    return affine


@pytest.mark.parametrize("spacing", [None, 3.0])
def test_equal_world_coordinates_have_equal_voxels(tmp_path, spacing):
    """Two fields of view, a superior offset, a slab, an oblique acquisition and a mirrored file."""
    straight = _box(4.0, (-62, -62, -62))
    mirrored = np.diag([-1.0, 1, 1, 1]) @ _box(4.0, (-62, -62, -62))
    cells = [
        _head(tmp_path / "straight.nii.gz", straight),
        _head(tmp_path / "again.nii.gz", straight, seed=1),
        _head(tmp_path / "box.nii.gz", _box(4.0, (-50, -54, -58)), (28, 30, 32)),
        _head(tmp_path / "higher.nii.gz", _box(4.0, (-62, -62, -38))),
        _head(tmp_path / "slab.nii.gz", _box(4.0, (-62, -62, -10)), (32, 32, 20)),
        _head(tmp_path / "oblique.nii.gz", _box(4.0, None, 25)),
        _head(tmp_path / "mirrored.nii.gz", mirrored),
    ]
    spec = ImageSpec(spacing=spacing, percentiles=(0, 100)).resolve(cells, multiple=4)
    spec = ImageSpec.model_validate(spec.model_dump(mode="json"))
    assert spec.place == "world"
    for cell in cells:
        value = spec.parse(cell)
        assert value.shape == spec.data_shape
        np.testing.assert_allclose(_spot(spec, value), [20, 12, 8], atol=0.35, err_msg=cell)
    whole, slab = spec.parse(cells[0])[0], spec.parse(cells[4])[0]
    seen = spec.inside(cells[4])[0] & spec.inside(cells[0])[0]
    assert np.corrcoef(whole[seen], slab[seen])[0, 1] > 0.999
    new = _head(tmp_path / "new.nii.gz", _box(2.0, (-61, -63, -57)), (62, 64, 60))
    np.testing.assert_allclose(_spot(spec, spec.parse(new)), [20, 12, 8], atol=0.35, err_msg="at prediction")


def test_files_on_one_grid_are_not_interpolated(tmp_path):
    cells = [_head(tmp_path / f"{seed}.nii.gz", _box(4.0, (-62, -62, -62)), seed=seed) for seed in range(3)]
    spec = ImageSpec(percentiles=(0, 100)).resolve(cells, multiple=4)
    for cell in cells:
        data = nibabel.load(cell).get_fdata()
        want = (data - data.min()) / (data.max() - data.min())
        np.testing.assert_allclose(spec.parse(cell)[0], want, atol=1e-6)


def test_images_largely_outside_the_grid_are_rejected(tmp_path):
    near = _head(tmp_path / "a.nii.gz", _box(4.0, (-62, -62, -62)))
    spec = ImageSpec().resolve([near], multiple=4)
    half = _head(tmp_path / "half.nii.gz", _box(4.0, (-62, -62, -62)))
    image = nibabel.load(half)
    image.affine[2, 3] += 60
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), image.affine), half)
    with pytest.raises(ValueError, match=r"half\.nii\.gz: \d+% of its contents lies outside the model's grid"):
        spec.parse(half)
    away = _head(tmp_path / "away.nii.gz", _box(4.0, (438, 438, -62)))
    with pytest.raises(CohortError, match=r"centres are 707 mm apart"):
        spec.resolve([near, away], multiple=4)
    with pytest.raises(CohortError, match=r"lies 707 mm from that of most images"):
        ImageSpec(spacing=4.0).resolve([near, near, half, away], multiple=4)
    boxes = ImageSpec(place="box", spacing=4.0).resolve([near, away], multiple=4)
    assert boxes.shape == (32, 32, 32)


def test_a_template_crops_images(tmp_path):
    cells = [_head(tmp_path / f"{seed}.nii.gz", _box(4.0, (-62, -62, -62)), seed=seed) for seed in range(2)]
    _head(tmp_path / "template.nii.gz", _box(3.0, (-3, -9, -6)), (12, 12, 12))
    spec = ImageSpec.model_validate(
        {"template": "template.nii.gz", "percentiles": (0, 100)}, context={"folder": tmp_path}
    )
    spec = spec.resolve(cells, multiple=4)
    assert spec.shape == (12, 12, 12)
    np.testing.assert_allclose(spec.affine, _box(3.0, (-3, -9, -6)), atol=1e-6)
    np.testing.assert_allclose(_spot(spec, spec.parse(cells[0])), [20, 12, 8], atol=0.4)
    with pytest.raises(CohortError, match="template: .*no such file"):
        ImageSpec(template=str(tmp_path / "none.nii")).resolve(cells, multiple=4)
