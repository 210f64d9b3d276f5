"""Masks that are not aligned with their image."""

import nibabel
import numpy as np
import pytest

from metavoxel.parts.variables.image import ImageSpec


def test_masks_that_do_not_lie_on_their_image(metavoxel, scan_study, tmp_path):
    """Misaligned masks are refused, since they would mark other voxels than intended."""
    scan = scan_study / "scans" / "s01.nii.gz"
    image = nibabel.load(scan)

    def refused(name, data, affine, *more):
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / name)
        arguments = ["--given", f"volume={scan}", "--mask", f"volume={tmp_path / name}", "--output", tmp_path / "out"]
        done = metavoxel("sample", scan_study / "run", *arguments, *more)
        assert done.code == 2
        return done.lines

    ones = np.ones(image.shape, np.uint8)
    away = image.affine.copy()
    away[0, 3] += 500
    assert "lies outside the model's grid" in refused("away.nii.gz", ones, away)[0]
    assert "has 2 axes where 3 are expected" in refused("flat.nii.gz", ones[:, :, :1], image.affine)[0]
    assert refused("good.nii.gz", ones, image.affine, "--given", "age=abc")[0].startswith("given age=abc: ")
    assert refused("nothing.nii.gz", 0 * ones, image.affine) == [
        "mask volume: marks no voxel as known (1): omit 'volume' from given"
    ]
    alone = metavoxel(
        "sample", scan_study / "run", "--mask", f"volume={tmp_path / 'good.nii.gz'}", "--output", tmp_path / "out"
    )
    assert alone.lines == ["mask: 'volume' has a mask but no given value"]
    several = metavoxel(
        "sample", scan_study / "run", "--mask", "age=x.nii", "--mask", f"volume={tmp_path / 'none.nii.gz'}",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert several.lines == [
        "--mask: 'age' is not an image. Images: picture, volume",
        f"--mask volume: {tmp_path / 'none.nii.gz'}: no such file",
        "2 problems.",
    ]


def test_masks_of_other_boxes_are_refused_for_box_placement(tmp_path):
    """Affines align masks of other grids; placement by boxes does not."""
    affine = np.diag([2.0, 2, 2, 1])
    for name, shape in (("image", (9, 8, 7)), ("mask", (9, 8, 7)), ("cut", (7, 8, 7))):
        data = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / f"{name}.nii.gz")
    image, mask, cut = (str(tmp_path / f"{name}.nii.gz") for name in ("image", "mask", "cut"))
    boxes = ImageSpec(place="box").resolve([image], multiple=4)
    boxes.parse_mask(mask, image=image)
    with pytest.raises(ValueError, match="lies on other voxels than"):
        boxes.parse_mask(cut, image=image)
    ImageSpec().resolve([image], multiple=4).parse_mask(cut, image=image)
