"""Pictures of each step of a preparation, for visual quality control: slices in a row, with contours."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float32, UInt8
from scipy.ndimage import binary_erosion

from metavoxel.images.image import Image
from metavoxel.preparation.head import Prepared
from metavoxel.preparation.starts import aligned_grid
from metavoxel.preparation.template import load_template, space_grid

STEPS = ("registered", "extraction", "bias")
"""Pictures of a T1w: brain in the template's space; brain mask on the native image; bias field."""
TEMPLATE_COLOUR, MASK_COLOUR = (255, 176, 0), (0, 200, 255)

_PLANES = ((0, (0.38, 0.55)), (1, (0.38, 0.6)), (2, (0.42, 0.6)))
"""Axis, and positions along it as shares of the field of view: six slices."""
_HEIGHT = 150
_SPACING = 2.0


def strip_path(folder: Path, name: str, step: str) -> Path:
    """Path of a picture within a derivative; beside the subjects, since a cohort may read pictures among them."""
    return folder / "figures" / f"{name}_{step}.png"


def strips(native: Image, prepared: Prepared) -> Iterator[tuple[str, PIL.Image.Image]]:
    """Yield the picture of each step."""
    yield "registered", registered_strip(prepared)
    native_grid = aligned_grid(native.grid, _SPACING)
    head = native.onto(native_grid, native.background())[0].data
    own = prepared.native_mask.onto(native_grid, labels=True)[0].data > 0.5
    yield "extraction", _strip(head, [(own, MASK_COLOUR)])
    if prepared.log_field is not None:
        field = np.exp(prepared.log_field.onto(native_grid)[0].data)
        yield "bias", _strip(field, [(own, MASK_COLOUR)])


def registered_strip(prepared: Prepared) -> PIL.Image.Image:
    """Draw the prepared image in the template's space, with the outlines of the template and of the mask."""
    grid = space_grid(_SPACING)
    _, brain = load_template()
    template = brain.onto(grid)[0].data > 0.5
    mask = prepared.mask.onto(grid)[0].data > 0.5
    return _strip(prepared.image.onto(grid)[0].data, [(template, TEMPLATE_COLOUR), (mask, MASK_COLOUR)])


def _strip(
    data: Float32[np.ndarray, "x y z"], contours: Sequence[tuple[Bool[np.ndarray, "x y z"], tuple[int, int, int]]]
) -> PIL.Image.Image:
    low, high = np.percentile(data, (1, 99.5))
    grey = np.clip((data - low) / max(float(high - low), 1e-6), 0, 1)
    tiles = []
    for axis, shares in _PLANES:
        for share in shares:
            index = int(share * (data.shape[axis] - 1))
            pixels = np.repeat((np.take(grey, index, axis) * 255).astype(np.uint8)[..., None], 3, 2)
            for mask, colour in contours:
                pixels[_outline(np.take(mask, index, axis))] = colour
            tiles.append(_tile(pixels))
    return PIL.Image.fromarray(np.concatenate(tiles, 1))


def _outline(mask: Bool[np.ndarray, "x y"]) -> Bool[np.ndarray, "x y"]:
    return mask & ~binary_erosion(mask)


def _tile(pixels: UInt8[np.ndarray, "x y 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Turn a slice upright, scaled to the strip's height."""
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2)[::-1]))
    width = max(1, round(picture.width * _HEIGHT / picture.height))
    return np.asarray(picture.resize((width, _HEIGHT), PIL.Image.Resampling.LANCZOS))
