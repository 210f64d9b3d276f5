"""Plots of samples and predictions, for notebooks and for the report.

Plots of numbers take matplotlib axes, and make some if they get none; sheets of images are figures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from nibabel.spatialimages import SpatialImage
from torch import Tensor

from metavoxel.inference.samples import Samples

INK, QUIET, SECOND = "#1f4e79", "#9a9a9a", "#c0504d"
"""Colours of data, of references and of what is compared with the data."""

_WIDTH, _LEFT, _GAP, _LINE = 1.6, 1.5, 0.06, 0.15
"""Sizes in inches: width of a picture, of the row titles, of the gap between pictures; height of a caption line."""


class Picture(NamedTuple):
    """An image (1, *d), or without channels (*d), and its caption."""

    image: Tensor | np.ndarray
    caption: str


class Row(NamedTuple):
    """Pictures side by side, with a title on the left."""

    title: str
    pictures: Sequence[Picture]


def as_image(image: object) -> Tensor:
    """Return an image (c, *d) from a tensor, an array or a nibabel image, of which the last two may lack channels.

    Raises:
        ValueError: it has no two or three axes besides channels.
    """
    array = image.dataobj if isinstance(image, SpatialImage) else image
    found = array if isinstance(array, Tensor) else torch.from_numpy(np.array(array, dtype=np.float32))
    if found.ndim == 2 or (found.ndim == 3 and not isinstance(image, Tensor) and found.shape[0] != 1):
        found = found[None]
    if found.ndim not in (3, 4):
        raise ValueError(f"an image has 2 or 3 axes, and one of channels before them, not the shape {found.shape}")
    return found.float()


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
    planes = [[middle_slice(as_image(picture.image)) for picture in row.pictures] for row in rows]
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


def samples(drawn: Samples, image: str | None = None, *, columns: int = 8) -> Figure:
    """Draw the middle slices of sampled images, captioned by the numbers and labels drawn with them.

    Args:
        drawn: draws of a model.
        image: the image variable; by default the first.
        columns: pictures in a row.

    Raises:
        ValueError: no such image.
    """
    names = drawn.image_names
    if image is None and names:
        image = names[0]
    if image not in names:
        raise ValueError(f"image {image!r} is not among those of the samples: {', '.join(names) or 'none'}")
    frame = drawn.frame
    captions = ["\n".join(_cell(str(name), value) for name, value in row.items()) for _, row in frame.iterrows()]
    pictures = [Picture(_unit(value), caption) for value, caption in zip(drawn[image], captions, strict=True)]
    return sheet([Row("", pictures[start : start + columns]) for start in range(0, len(pictures), columns)])


def inpainting(
    image: Tensor | np.ndarray,
    mask: Tensor | np.ndarray,
    drawn: Samples | Tensor | np.ndarray,
    name: str | None = None,
) -> Figure:
    """Draw an image, its known part, and draws of the rest.

    Args:
        image: (c, *s), with intensities from 0 to 1; arrays and nibabel images may lack the channels.
        mask: of the same shape, above 0.5 where known.
        drawn: draws (n, c, *s), or samples of which ``name`` is the image variable.
        name: of the image variable.
    """
    if isinstance(drawn, Samples):
        if name is None or name not in drawn:
            raise ValueError(f"image {name!r} is not among the variables of the samples: {', '.join(drawn)}")
        drawn = drawn[name]
    original = as_image(image)
    known = torch.where(as_image(mask) > 0.5, original, 0.0)
    pictures = [Picture(_unit(original), "original"), Picture(_unit(known), "given")]
    draws = [Picture(_unit(as_image(value)), f"draw {k + 1}") for k, value in enumerate(drawn)]
    return sheet([Row("", [*pictures, *draws])])


def posterior(
    draws: Float64[np.ndarray, "n"], *, truth: float | None = None, label: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the histogram of a number's draws, with median and 90 % interval.

    Args:
        draws: of one number.
        truth: the true value, if known.
        label: of the axis.
        ax: axes to draw on.
    """
    ax = _axes(ax)
    values = np.asarray(draws, dtype=float)
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    ax.hist(values, bins="auto", density=True, color=INK, alpha=0.35)
    ax.axvspan(low, high, color=INK, alpha=0.12, lw=0, label="90 % interval")
    ax.axvline(middle, color=INK, lw=1.5, label=f"median {middle:.3g}")
    if truth is not None:
        ax.axvline(truth, color="black", lw=1, ls="--", label=f"true {truth:.3g}")
    ax.set_xlabel(label, fontsize=9)
    ax.set_ylabel("density", fontsize=9)
    ax.legend(fontsize=7, frameon=False)
    plain(ax)
    return ax


def agreement(
    truth: Float64[np.ndarray, "n"], predicted: Float64[np.ndarray, "n"], *, label: str = "", ax: Axes | None = None
) -> Axes:
    """Draw predicted against true values; the title is their mean absolute error. Rows without either are left out.

    Args:
        truth: true values.
        predicted: predictions of the same rows.
        label: name and unit of the variable.
        ax: axes to draw on.
    """
    ax = _axes(ax)
    truth, predicted = np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float)
    known = np.isfinite(truth) & np.isfinite(predicted)
    every = np.concatenate([truth[known], predicted[known]])
    if len(every):
        ax.plot([every.min(), every.max()], [every.min(), every.max()], color=QUIET, lw=1)
    ax.plot(truth, predicted, "o", ms=3.5, alpha=0.6, color=INK, mew=0)
    error = np.abs(predicted - truth)[known].mean() if known.any() else np.nan
    ax.set_title(f"mean absolute error {error:.3g}", fontsize=9)
    ax.set_xlabel(f"true {label}".strip(), fontsize=9)
    ax.set_ylabel(f"predicted {label}".strip(), fontsize=9)
    ax.set_aspect("equal")
    plain(ax)
    return ax


def plain(ax: Axes) -> None:
    """Remove the frame's upper and right sides, and make tick labels small."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot  # a notebook shows its figures; scripts and the report need none of it

    return matplotlib.pyplot.subplots(figsize=(4, 3.2), layout="constrained")[1]


def _unit(image: Tensor) -> Tensor:
    """Intensities scaled to [0, 1] where they exceed it."""
    low, high = float(image.min()), float(image.max())
    return image if low >= 0 and high <= 1 else (image - low) / max(high - low, 1e-12)


def _cell(name: str, value: object) -> str:
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"


def _lines(caption: str) -> int:
    return len(caption.splitlines())
