"""A sheet of slices: rows of images, each with a caption."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from torch import Tensor


class Picture(NamedTuple):
    """An image (1, *d) and what to write under it."""

    image: Tensor
    caption: str


class Row(NamedTuple):
    """Pictures side by side, with a title at their left."""

    title: str
    pictures: Sequence[Picture]


def middle_slice(image: Tensor) -> Tensor:
    """The axial slice through the middle of a volume, nose up; a 2-D image as it is."""
    plane = image[0] if image.ndim == 3 else image[0, :, :, image.shape[3] // 2]
    return plane.T.flip(0)


def draw_sheet(rows: Sequence[Row], path: Path) -> None:
    """Write the sheet as a PNG; all images share one grey scale from 0 to 1."""
    figure = sheet(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, facecolor="black")


def sheet(rows: Sequence[Row]) -> Figure:
    """The sheet as a figure; all images share one grey scale from 0 to 1."""
    columns = max(len(row.pictures) for row in rows)
    figure = Figure(figsize=(1.6 * columns + 1.5, 1.95 * len(rows)), facecolor="black")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, picture in zip(line, row.pictures, strict=False):
            axis.imshow(middle_slice(picture.image).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
            axis.set_title(picture.caption, color="white", fontsize=8, pad=2)
        line[0].text(-0.08, 0.5, row.title, color="white", fontsize=9, ha="right", va="center",
                     transform=line[0].transAxes)  # fmt: skip
    top = 1 - 0.19 / (1.95 * len(rows))
    figure.subplots_adjust(
        left=1.5 / (1.6 * columns + 1.5), right=0.995, top=top, bottom=0.005, wspace=0.02, hspace=0.16
    )
    return figure
