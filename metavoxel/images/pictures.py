"""PNG and JPEG pictures, converted to luminance with transparency as black."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import PIL.Image
import png
from jaxtyping import Float32, Shaped

from metavoxel.images.contents import ImageFileError
from metavoxel.images.grid import Grid
from metavoxel.images.stored import AbstractStored

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_ORIENTATION = 0x0112
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
_GREY = 0
"""PNG colour type without colour, palette or alpha."""
_COLOURS = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV")


class _Form(NamedTuple):
    """Pixel format of a PNG. ``keyed``: one colour is transparent, or a palette has alpha values."""

    depth: int
    kind: int
    keyed: bool
    frames: int

    @property
    def beyond_pillow(self) -> bool:
        """Whether Pillow decodes incorrectly: 16 bits with colour or transparency are reduced to 8, and greys of fewer
        than 8 bits are rescaled before the transparent one is matched.
        """
        deep = self.depth == 16 and (self.kind != _GREY or self.keyed)
        return deep or (self.depth < 8 and self.kind == _GREY and self.keyed)


@final
@dataclass(frozen=True)
class Picture(AbstractStored):
    """A PNG or JPEG file; pixels count as 1 mm, and the orientation in the body is unknown."""

    path: Path
    size: tuple[int, int]
    orientation: int
    form: _Form | None

    @property
    def grid(self) -> Grid:
        turned = self.orientation in _TURNED
        return Grid(self.size[::-1] if turned else self.size, np.eye(4))

    @property
    def oriented(self) -> bool:
        return False

    def voxels(self) -> Float32[np.ndarray, "x y"]:
        special = self.form is not None and self.form.beyond_pillow
        rows = _by_pypng(self.path) if special else _by_pillow(self.path)
        return np.ascontiguousarray(_upright(rows, self.orientation)[::-1].T)


def open_picture(path: Path) -> AbstractStored:
    """Open a PNG or JPEG file, identified by its content and rotated by its EXIF orientation.

    Raises:
        ImageFileError: broken, or several pictures.
        OSError: not a picture.
        SyntaxError: a broken chunk, as raised by Pillow.
    """
    form = _png_form(path)
    if form is not None and form.frames > 1:
        raise ImageFileError(f"holds {form.frames} pictures (an animated PNG): save a single one")
    with PIL.Image.open(path, formats=("PNG", "JPEG")) as picture:
        orientation = int(picture.getexif().get(_ORIENTATION, 1))
        return Picture(path, (int(picture.size[0]), int(picture.size[1])), orientation, form)


def _png_form(path: Path) -> _Form | None:
    """Parse the chunks of a PNG and verify their checksums, which Pillow skips for pixels. None for other files.

    Raises:
        ImageFileError: truncated or damaged.
    """
    with path.open("rb") as file:
        if file.read(len(_SIGNATURE)) != _SIGNATURE:
            return None
        content = file.read()
    at, depth, colours, keyed, frames = 0, 0, 0, False, 1
    while True:
        head = content[at : at + 8]
        if len(head) < 8:
            raise ImageFileError("truncated: it ends before its last chunk")
        size, kind = struct.unpack(">I4s", head)
        body = memoryview(content)[at + 4 : at + 8 + size]
        check = content[at + 8 + size : at + 12 + size]
        if len(check) < 4:
            raise ImageFileError("truncated: it ends before its last chunk")
        if zlib.crc32(body) != int.from_bytes(check, "big"):
            raise ImageFileError(f"damaged: the checksum of a chunk ({kind!r}) is not that of its content")
        if kind == b"IHDR" and size == 13:
            depth, colours = body[12], body[13]
        elif kind == b"tRNS":
            keyed = True
        elif kind == b"acTL" and size == 8:
            frames = int.from_bytes(body[4:8], "big")
        elif kind == b"IEND":
            return _Form(depth, colours, keyed, frames)
        at += 12 + size


def _by_pillow(path: Path) -> Float32[np.ndarray, "h w"]:
    """Decode pixels by Pillow: 8 bits, or 16 in greyscale without transparency."""
    with PIL.Image.open(path, formats=("PNG", "JPEG")) as picture:
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            values = np.asarray(picture.convert("RGBA"), np.float32)
            return (values[..., :3] @ _LUMA) * (values[..., 3] / np.float32(255))
        if picture.mode in _COLOURS:
            return np.asarray(picture.convert("RGB"), np.float32) @ _LUMA
        return np.asarray(picture.convert("L") if picture.mode == "1" else picture, np.float32)


def _by_pypng(path: Path) -> Float32[np.ndarray, "h w"]:
    """Decode pixels by pypng: 16 bits are kept, fewer are scaled to 0 to 255."""
    try:
        reader = png.Reader(bytes=path.read_bytes())
        width, height, rows, form = reader.read()
        planes, maximum = int(form["planes"]), 2 ** int(form["bitdepth"]) - 1
        values = np.array([np.asarray(row, np.uint16) for row in rows]).reshape(height, width, planes)
    except png.Error as error:
        raise ImageFileError(f"damaged: {error}") from error
    colours = values[..., : 3 if planes >= 3 else 1].astype(np.float32)
    grey = colours @ _LUMA if planes >= 3 else colours[..., 0]
    if form["alpha"]:
        grey = grey * (values[..., -1] / np.float32(maximum))
    elif reader.transparent is not None:
        grey = np.where((values == np.array(reader.transparent)).all(axis=-1), np.float32(0), grey)
    return grey if maximum == 65535 else grey * np.float32(255 / maximum)


def _upright(rows: Shaped[np.ndarray, "h w"], orientation: int) -> Shaped[np.ndarray, "*turned"]:
    """Rotate and mirror rows of pixels by the EXIF orientation."""
    transforms: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: np.fliplr,
        3: lambda pixels: np.rot90(pixels, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda pixels: np.rot90(pixels, -1),
        7: lambda pixels: np.rot90(pixels, 2).T,
        8: np.rot90,
    }
    return transforms.get(orientation, lambda pixels: pixels)(rows)
