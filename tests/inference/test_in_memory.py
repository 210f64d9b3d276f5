"""Images in memory as given values and masks: as files of the same content, or as values on the model's grid."""

import nibabel
import numpy as np
import pytest
import torch
from tiny_cohorts import IMAGES, write_images, write_schema

import metavoxel as mv
from metavoxel.errors import EvidenceError


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    write_images(folder)
    return mv.train(mv.load_schema(write_schema(folder, IMAGES, training={"steps": 2})), folder / "run")


@pytest.fixture
def scan(scans):
    return str(scans.schema.folder / scans.schema.cohort.table.parent / "scans" / "s01.nii.gz")


def drawn(model, given, masks=None):
    return model.sample(1, given, masks, steps=1)["volume"]


def test_a_nibabel_image_is_read_as_its_file(scans, scan):
    image = nibabel.load(scan)
    assert torch.equal(scans.value_of("volume", image), scans.value_of("volume", scan))
    assert torch.equal(drawn(scans, {"volume": image}), drawn(scans, {"volume": scan}))


def test_a_drawn_image_can_be_given(scans):
    first = scans.sample(1, steps=1)
    image = first.images["volume"][0]
    again = scans.value_of("volume", image)
    assert again.shape == first["volume"][0].shape
    value = first["volume"][0]
    low, high = (np.percentile(value, q) for q in (0.5, 99.5))
    assert torch.allclose(again, ((value - low) / (high - low)).clamp(0, 1), atol=0.02)


def test_an_array_is_a_value_with_or_without_its_channel(scans):
    value = np.random.default_rng(0).random((1, 12, 8, 8))
    assert np.allclose(drawn(scans, {"volume": value})[0], value)
    assert torch.equal(drawn(scans, {"volume": value}), drawn(scans, {"volume": value[0]}))
    with pytest.raises(EvidenceError, match=r"given volume: must have shape \(1, 12, 8, 8\), not \(9, 8, 7\)"):
        scans.sample(1, {"volume": value[0, :9, :, :7]})


def test_an_array_of_no_axis_is_a_number(scans):
    assert float(scans.value_of("age", np.array(30.0))) == 30


def test_masks_may_be_nibabel_images(scans, scan):
    image = nibabel.load(scan)
    known = np.zeros(image.shape, np.float32)
    known[: image.shape[0] // 2] = 1
    mask = nibabel.Nifti1Image(known, image.affine)
    nibabel.save(mask, path := scan.replace("s01", "known"))
    expected = scans.schema.specs["volume"].parse_mask(path)
    assert torch.equal(
        drawn(scans, {"volume": image}, {"volume": mask}), drawn(scans, {"volume": scan}, {"volume": expected})
    )
    array = expected.numpy()[0]
    assert torch.equal(
        drawn(scans, {"volume": image}, {"volume": array}), drawn(scans, {"volume": scan}, {"volume": expected})
    )


def test_an_image_elsewhere_is_refused(scans, scan):
    image = nibabel.load(scan)
    affine = image.affine.copy()
    affine[:3, 3] += 500
    away = nibabel.Nifti1Image(image.get_fdata().astype(np.float32), affine)
    for arguments in (({"volume": away},), ({"volume": image}, {"volume": away})):
        with pytest.raises(EvidenceError, match=r"^(given|mask) volume: lies outside the model's grid"):
            scans.sample(1, *arguments)


def test_an_image_is_no_number(scans, scan):
    with pytest.raises(EvidenceError, match="given age: is of type 'continuous', and an image is no value of it"):
        scans.sample(1, {"age": nibabel.load(scan)})
