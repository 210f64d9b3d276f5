"""Contact sheets of slices, as PNG files."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from metavoxel.inference.plot import (
    Picture,
    Row,
    agreement,
    as_image,
    draw_sheet,
    inpainting,
    middle_slice,
    posterior,
    samples,
)
from metavoxel.inference.samples import Samples
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec


def test_the_middle_slice_is_axial_with_anterior_up() -> None:
    volume = torch.zeros(1, 4, 6, 8)
    volume[0, 0, 5, 4] = 1  # leftmost, most anterior, in the middle slice
    plane = middle_slice(volume)
    assert plane.shape == (6, 4)
    assert plane[0, 0] == 1


def test_a_2d_image_is_unchanged() -> None:
    assert middle_slice(torch.zeros(1, 4, 6)).shape == (6, 4)


def test_a_sheet_shows_bright_and_dark_images(tmp_path: Path) -> None:
    bright, dark = torch.ones(1, 8, 8, 8), torch.zeros(1, 8, 8, 8)
    rows = [Row("first", [Picture(bright, "1"), Picture(dark, "0")]), Row("second", [Picture(dark, "0")])]
    draw_sheet(rows, tmp_path / "new" / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "new" / "sheet.png").convert("L"))
    middle = pixels.shape[0] // 4
    assert (pixels[middle] > 250).mean() > 0.2  # the bright image
    assert (pixels[3 * middle] > 250).mean() < 0.2  # only the title of the second row is bright


def test_sampled_images_are_captioned_by_what_was_drawn_with_them() -> None:
    specs = {"scan": ImageSpec(shape=(4, 4), affine=np.eye(4).tolist(), extension=".png"), "age": ContinuousSpec()}
    drawn = Samples({"scan": torch.rand(5, 1, 4, 4), "age": torch.tensor([20.0, 30, 40, 50, 60])}, specs)
    figure = samples(drawn, columns=3)
    assert [axis.get_title() for axis in figure.axes] == ["age 20", "age 30", "age 40", "age 50", "age 60"]
    with pytest.raises(ValueError, match="image 'age' is not among those of the samples: scan"):
        samples(drawn, "age")


def test_an_inpainting_shows_what_was_given() -> None:
    image, mask = torch.full((1, 4, 4), 0.5), torch.zeros(1, 4, 4)
    mask[:, :2] = 1
    figure = inpainting(image, mask, torch.rand(2, 1, 4, 4))
    assert [axis.get_title() for axis in figure.axes] == ["original", "given", "draw 1", "draw 2"]
    given = np.asarray(figure.axes[1].images[0].get_array())
    assert np.unique(given).tolist() == [0, 0.5] and (given > 0).mean() == 0.5


def test_images_may_be_arrays_without_channels() -> None:
    image, mask, draws = np.full((4, 4), 0.5), np.eye(4), np.random.default_rng(0).random((2, 4, 4))
    shown = [axis.images[0].get_array() for axis in inpainting(image, mask, draws).axes]
    expected = inpainting(*(torch.tensor(one, dtype=torch.float32)[..., None, :, :] for one in (image, mask, draws)))
    assert all(np.array_equal(one, axis.images[0].get_array()) for one, axis in zip(shown, expected.axes, strict=True))
    volume = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nifti = nibabel.Nifti1Image(volume, np.eye(4))
    for one in (volume, nifti, torch.tensor(volume)[None]):
        assert torch.equal(as_image(one), torch.tensor(volume)[None])
    with pytest.raises(ValueError, match="2 or 3 axes"):
        as_image(np.zeros(3))


def test_a_posterior_and_an_agreement_on_given_axes() -> None:
    axes = Figure().subplots(1, 2)
    assert posterior(np.arange(101.0), truth=40.0, label="age", ax=axes[0]) is axes[0]
    texts = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert texts == ["90 % interval", "median 50", "true 40"]
    agreement(np.array([1.0, 2.0, np.nan]), np.array([1.5, 2.5, 9.0]), label="age", ax=axes[1])
    assert axes[1].get_title() == "mean absolute error 0.5" and axes[1].get_xlabel() == "true age"
