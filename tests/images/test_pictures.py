"""Pictures of every pixel format; PNG files are encoded here, so that their content is known."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from metavoxel.images.files import read_grid, read_image

LUMA = np.array([0.299, 0.587, 0.114])


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(path, pixels, depth, kind, *extra):
    """Rows (h, w, planes) of integers; fewer than 8 bits are packed."""
    pixels = np.asarray(pixels)
    height, width = pixels.shape[:2]
    rows = []
    for row in pixels.reshape(height, -1):
        if depth < 8:
            bits = "".join(f"{value:0{depth}b}" for value in row)
            row = [int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)]
        rows.append(b"\0" + np.asarray(row, ">u2" if depth == 16 else "u1").tobytes())
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [_chunk(b"IHDR", head), *extra, _chunk(b"IDAT", zlib.compress(b"".join(rows))), _chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def _rows(path):
    """Read a picture as rows of pixels from the top."""
    data = read_image(path).data
    assert read_grid(path).shape == data.shape
    return data.T[::-1]


@pytest.fixture
def levels():
    """1000 grey levels of 16 bits, which are 4 levels of 8 bits."""
    return np.arange(100, 1100).reshape(25, 40)


def test_16_bits_of_colour_are_kept(tmp_path, levels):
    pixels = np.stack([levels, levels + 7, levels * 3], -1)
    np.testing.assert_allclose(_rows(_png(tmp_path / "a.png", pixels, 16, 2)), pixels @ LUMA, rtol=1e-6)


@pytest.mark.parametrize(("kind", "planes"), [(4, 1), (6, 3)])
def test_16_bits_with_alpha_are_kept(tmp_path, levels, kind, planes):
    alpha = np.linspace(0, 65535, levels.size).astype(int).reshape(levels.shape)
    pixels = np.stack([levels] * planes + [alpha], -1)
    truth = levels * (alpha / 65535)
    np.testing.assert_allclose(_rows(_png(tmp_path / "a.png", pixels, 16, kind)), truth, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("depth", "factor"), [(16, 1), (8, 1), (4, 17), (2, 85), (1, 255)])
def test_a_transparent_grey_is_black(tmp_path, depth, factor):
    maximum = min(2**depth - 1, 300)
    pixels = np.arange(24).reshape(4, 6) * maximum // 23
    key = maximum if depth == 1 else pixels[3, 2]
    path = _png(tmp_path / "a.png", pixels, depth, 0, _chunk(b"tRNS", struct.pack(">H", key)))
    if depth == 1:
        with pytest.raises(ValueError, match="constant: every voxel is 0"):
            read_image(path)
        return
    np.testing.assert_allclose(_rows(path), np.where(pixels == key, 0, pixels * factor), rtol=1e-6)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_black(tmp_path, depth):
    pixels = np.random.default_rng(0).integers(1, 2**depth, (4, 6, 3))
    key = pixels[2, 3]
    truth = pixels @ LUMA
    truth[2, 3] = 0
    path = _png(tmp_path / "a.png", pixels, depth, 2, _chunk(b"tRNS", struct.pack(">3H", *key)))
    np.testing.assert_allclose(_rows(path), truth, rtol=1e-5)


def test_a_palette_with_transparency(tmp_path):
    colours = np.array([[200, 10, 10], [10, 200, 10], [90, 90, 90]])
    pixels = np.array([[0, 1, 2], [2, 1, 0]])
    extra = (_chunk(b"PLTE", colours.astype("u1").tobytes()), _chunk(b"tRNS", bytes([0, 51, 255])))
    truth = (colours @ LUMA * [0, 0.2, 1])[pixels]
    np.testing.assert_allclose(_rows(_png(tmp_path / "a.png", pixels, 8, 3, *extra)), truth, rtol=1e-5)


@pytest.mark.parametrize(("kind", "planes"), [(4, 1), (6, 3)])
def test_transparent_colours_have_no_effect(tmp_path, kind, planes):
    grey = np.arange(24).reshape(4, 6) * 10
    alpha = np.where(grey < 100, 0, 255)
    read = []
    for hidden in (0, 255):
        shown = np.where(alpha == 0, hidden, grey)
        pixels = np.stack([shown] * planes + [alpha], -1)
        read.append(_rows(_png(tmp_path / f"{hidden}.png", pixels, 8, kind)))
    np.testing.assert_allclose(read[0], np.where(alpha == 0, 0, grey), rtol=1e-6)
    np.testing.assert_array_equal(read[0], read[1])


def test_the_same_picture_in_8_and_16_bits_keeps_its_own_levels(tmp_path):
    grey = np.arange(24).reshape(4, 6) * 10
    np.testing.assert_array_equal(_rows(_png(tmp_path / "a.png", grey, 8, 0)), grey)
    np.testing.assert_array_equal(_rows(_png(tmp_path / "b.png", grey * 257, 16, 0)), grey * 257)


def test_an_animated_picture_is_refused(tmp_path):
    frames = [PIL.Image.fromarray(np.full((4, 5), grey, np.uint8)) for grey in (10, 20)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    for read in (read_grid, read_image):
        with pytest.raises(ValueError, match="2 pictures"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_every_exif_orientation(tmp_path, orientation, deep):
    """Compare with Pillow's transpositions."""
    pixels = np.arange(1, 13).reshape(3, 4) * 20
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    chunk = _chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    stored = np.stack([pixels] * 3, -1) if deep else pixels
    path = _png(tmp_path / "a.png", stored, 16 if deep else 8, 2 if deep else 0, chunk)
    transposition = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
    picture = PIL.Image.fromarray(pixels.astype(np.uint8))
    truth = np.asarray(picture if transposition is None else picture.transpose(PIL.Image.Transpose(transposition)))
    np.testing.assert_allclose(_rows(path), truth, rtol=1e-6)


def test_the_format_is_detected_from_the_content(tmp_path):
    PIL.Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png", format="JPEG")
    assert read_image(tmp_path / "a.png").data.shape == (8, 8)
    PIL.Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "b.png", format="GIF")
    with pytest.raises(ValueError, match="not a PNG or JPEG"):
        read_image(tmp_path / "b.png")


def test_a_flipped_bit_in_uncompressed_pixels_is_detected(tmp_path):
    """Pillow does not verify the checksums of pixels."""
    path = tmp_path / "a.png"
    PIL.Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path, compress_level=0)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"IDAT") + 30] ^= 4
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="damaged"):
        read_image(path)
