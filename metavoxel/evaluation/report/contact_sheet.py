"""Contact sheet: rows of image slices with captions."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from torch import Tensor

_WIDTH, _LEFT, _GAP, _LINE = 1.6, 1.5, 0.06, 0.15
"""Sizes in inches: width of a picture, of the row titles, of the gap between pictures; height of a caption line."""


class Picture(NamedTuple):
    """An image (1, *d) and its caption."""

    image: Tensor
    caption: str


class Row(NamedTuple):
    """Pictures side by side, with a title on the left."""

    title: str
    pictures: Sequence[Picture]


def middle_slice(image: Tensor) -> Tensor:
    """Middle axial slice of a volume, anterior up; a 2-D image unchanged."""
    plane = image[0] if image.ndim == 3 else image[0, :, :, image.shape[3] // 2]
    return plane.T.flip(0)


def draw_sheet(rows: Sequence[Row], path: Path) -> None:
    """Write the sheet as a PNG; all images share one grey scale from 0 to 1."""
    figure = sheet(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, facecolor="black")


def sheet(rows: Sequence[Row]) -> Figure:
    """Draw the sheet as a figure; all images share one grey scale from 0 to 1."""
    planes = [[middle_slice(picture.image) for picture in row.pictures] for row in rows]
    heights = [_WIDTH * max(plane.shape[0] / plane.shape[1] for plane in line) for line in planes]
    above = [_GAP + _LINE * max(_lines(picture.caption) for picture in row.pictures) for row in rows]
    width = _LEFT + (_WIDTH + _GAP) * max(map(len, planes))
    height = top = sum(heights) + sum(above)
    figure = Figure(figsize=(width, height), facecolor="black")
    for row, line, tall, head in zip(rows, planes, heights, above, strict=True):
        top -= head + tall
        for number, (picture, plane) in enumerate(zip(row.pictures, line, strict=True)):
            left = _LEFT + number * (_WIDTH + _GAP)
            axis = figure.add_axes((left / width, top / height, _WIDTH / width, tall / height))
            axis.set_axis_off()
            axis.imshow(plane.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
            axis.set_title(picture.caption, color="white", fontsize=8, pad=2)
        figure.text((_LEFT - 0.1) / width, (top + tall / 2) / height, row.title, color="white", fontsize=9, ha="right",
                    va="center")  # fmt: skip
    return figure


def _lines(caption: str) -> int:
    return len(caption.splitlines())
