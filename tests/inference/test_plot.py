"""Contact sheets of slices, as PNG files."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from metavoxel.inference.plot import Picture, Row, draw_sheet, middle_slice


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
