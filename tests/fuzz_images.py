"""Fuzzing of image files: damaged files are refused or read correctly."""

import gzip
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image

from metavoxel.images.files import read_grid, read_image

NAMES = ("a.nii", "a.nii.gz", "a.png", "a.mgz", "a.mgh")
_CHECKED = ("a.nii.gz", "a.png", "a.mgz")
"""Files with checksums, which detect any damage to voxels."""


def valid_file(name: str) -> bytes:
    """Return the bytes of a small image file of this name."""
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 1000, (9, 8, 7)).astype(np.int16)
    if name.endswith(".png"):
        stream = BytesIO()
        PIL.Image.fromarray(rng.integers(0, 255, (20, 16), np.uint8)).save(stream, format="PNG")
        return stream.getvalue()
    kind = nibabel.MGHImage if ".mg" in name else nibabel.Nifti1Image
    raw = kind(volume, np.diag([2, 3, 4, 1.0])).to_bytes()
    return gzip.compress(raw, mtime=0) if name.endswith("z") else raw


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one or a few bytes, truncate them, or append others."""
    raw = bytearray(content)
    mode = rng.integers(10)
    if mode == 0:
        return bytes(raw[: rng.integers(len(raw))])
    if mode == 1:
        return bytes(raw) + rng.bytes(int(rng.integers(1, 2000)))
    # Headers are short, so half of the changes are placed there.
    end = min(len(raw), 400) if mode < 6 else len(raw)
    for at in rng.integers(0, end, 1 if mode < 8 else 4):
        raw[at] = rng.integers(256) if mode % 2 else raw[at] ^ (1 << rng.integers(8))
    return bytes(raw)


def fuzz(folder: Path, name: str, count: int, seed: int = 0) -> int:
    """Read ``count`` damaged files, and return the number of refused ones.

    Raises:
        AssertionError: an exception other than ValueError, wrong data of a file with checksums, or voxels of other
            files that differ from the stored ones.
    """
    rng = np.random.default_rng([seed, *name.encode()])
    valid, path, refused = valid_file(name), folder / name, 0
    path.write_bytes(valid)
    truth = read_image(path)
    for number in range(count):
        content = damaged(valid, rng)
        path.write_bytes(content)
        where = f"{name}, file {number} of seed {seed}"
        _attempt(read_grid, path, where)
        result = _attempt(read_image, path, where)
        if result is None:
            refused += 1
        elif name in _CHECKED:
            np.testing.assert_array_equal(result.data, truth.data, err_msg=where)
            np.testing.assert_array_equal(result.grid.affine, truth.grid.affine, err_msg=where)
        elif content[:352] == valid[:352]:
            start, kind = (352, "<i2") if name == "a.nii" else (284, ">i2")
            stored = np.frombuffer(content, kind, 9 * 8 * 7, start).reshape(9, 8, 7, order="F")
            np.testing.assert_array_equal(result.data, stored, err_msg=where)
    return refused


def _attempt(read, path, where):
    try:
        return read(path)
    except ValueError as error:
        assert str(path) in str(error) and "Type-check" not in str(error), f"{where}: {error}"
        return None
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
