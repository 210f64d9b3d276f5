"""Files of label maps, verified with nibabel and Pillow."""

import nibabel
import numpy as np
import PIL.Image
import pytest
import torch
from label_maps import LESION, affine_of, round_trip, save, shells

from metavoxel.parts.variables.labelmap import LabelMapSpec


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (LESION, np.uint8),
        ({"a": 0, "b": 1000}, np.int16),
        ({"a": -1, "b": 3}, np.int16),
        ({"a": 0, "b": 10**6}, np.int32),
    ],
)
def test_files_written_contain_the_labels_numbers_and_round_trip(tmp_path, labels, kind):
    number = np.array(list(labels.values()))
    data = number[np.random.default_rng(0).integers(0, 2, (8, 12, 4))].astype(kind)
    affine = np.array([[0, -2.0, 0, 3], [2.0, 0, 0, -4], [0, 0, 3.0, 1], [0, 0, 0, 1]])
    cell = save(tmp_path / "a.nii.gz", data, affine)
    spec = round_trip(LabelMapSpec(labels=labels).resolve([cell], multiple=4))
    value = spec.parse(cell)
    name = spec.write("mask", value, folder=tmp_path / "out", stem="s")["mask"]
    written = nibabel.load(tmp_path / "out" / name)
    assert written.get_data_dtype() == kind
    canonical = nibabel.as_closest_canonical(nibabel.load(cell))
    assert np.array_equal(np.asanyarray(written.dataobj), np.asanyarray(canonical.dataobj))
    assert np.allclose(written.affine, canonical.affine)
    assert written.header["sform_code"] > 0 and written.header.get_xyzt_units()[0] == "mm"
    assert torch.equal(spec.parse(str(tmp_path / "out" / name)), value)


def test_files_written_from_soft_values_contain_only_known_labels(tmp_path):
    cell = save(tmp_path / "a.nii.gz", shells())
    spec = LabelMapSpec(labels={"outside": 10, "fluid": 20, "grey": 30}, shape=(8, 8, 8), affine=affine_of().tolist())
    soft = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 8, 8, 8)).astype(np.float32))
    file = tmp_path / str(spec.write("mask", soft, folder=tmp_path, stem="s")["mask"])
    assert np.array_equal(np.asanyarray(nibabel.load(file).dataobj), 10 * (soft.numpy().argmax(0) + 1))
    mask = LabelMapSpec(labels=LESION, shape=(8, 8, 8), affine=affine_of().tolist())
    file = tmp_path / str(mask.write("lesion", soft[:1], folder=tmp_path, stem="s", like=None)["lesion"])
    assert np.array_equal(np.asanyarray(nibabel.load(file).dataobj), soft.numpy()[0] > 0.5)
    resolved = LabelMapSpec(labels=LESION, place="box").resolve([cell], multiple=4)
    like = save(tmp_path / "like.nii.gz", shells(), affine_of(origin=(1, 2, 3)))
    file = tmp_path / str(resolved.write("m", torch.zeros(1, 16, 16, 16), folder=tmp_path, stem="t", like=like)["m"])
    assert np.allclose(nibabel.load(file).affine, affine_of(origin=(1, 2, 3)))


def test_pngs_contain_labels_as_grey_levels(tmp_path):
    greys = np.where(np.random.default_rng(0).uniform(size=(8, 12)) < 0.3, 255, 0).astype(np.uint8)
    cell = str(tmp_path / "a.png")
    PIL.Image.fromarray(greys).save(cell)
    spec = LabelMapSpec(labels={"background": 0, "lesion": 255}).resolve([cell], multiple=4)
    value = spec.parse(cell)
    assert np.array_equal(value.numpy()[0], greys.T[:, ::-1] == 255)
    name = str(spec.write("mask", value, folder=tmp_path, stem="s")["mask"])
    assert name.endswith(".png") and np.array_equal(np.asarray(PIL.Image.open(tmp_path / name)), greys)
