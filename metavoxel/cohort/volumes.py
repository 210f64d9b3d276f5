"""Preprocess the images of a cohort once, in parallel, into a memory-mapped file."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32
from numpy.lib.format import write_array_header_1_0
from torch import Tensor

from metavoxel.parts.variables.base import Missing

_READERS = 4
_BLOCK = 16
"""Number of images parsed per block, and held in memory at once."""


class UnreadableCells(Exception):
    """Raised once for all cells that could not be parsed, with the reasons by position."""

    def __init__(self, reasons: dict[int, str]) -> None:
        self.reasons = reasons
        super().__init__(f"{len(reasons)} unreadable cells")


def load_volumes(
    parse: Callable[[str], Tensor | Missing], cells: Sequence[str], shape: tuple[int, ...], *, path: Path | None
) -> Float32[np.ndarray, "n *d"]:
    """Parse every cell into a read-only array on disk: at ``path``, or in an unnamed temporary file.

    An existing file at ``path`` is reused, so its name must identify everything that its contents depend on. The file
    is written atomically: an interrupt leaves no partial file.

    Raises:
        UnreadableCells: ``parse`` raised ValueError for these, or set them to missing; all cells are tried.
    """
    full_shape = (len(cells), *shape)
    if not cells:
        return np.zeros(full_shape, np.float32)
    if path is None:
        with tempfile.TemporaryFile() as file:
            start = _write(file, _parsed(parse, cells), full_shape)
            return np.memmap(file, np.float32, mode="r", offset=start, shape=full_shape)
    known = _open(path, full_shape)
    if known is not None:
        return known
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, _parsed(parse, cells), full_shape)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)
    volumes = _open(path, full_shape)
    if volumes is None:
        raise OSError(f"{path} was replaced by something else while it was being written")
    return volumes


def _open(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "n *d"] | None:
    """Open the array at ``path``; None if absent, or of another shape or type."""
    try:
        volumes = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return volumes if volumes.shape == shape and volumes.dtype == np.float32 else None


def _write(file: BinaryIO, volumes: Iterator[Tensor], shape: tuple[int, ...]) -> int:
    """Write an .npy file sequentially: a full disk raises an error, whereas a memory map would crash."""
    write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    start = file.tell()
    for volume in volumes:
        file.write(np.ascontiguousarray(volume.numpy(), "<f4").tobytes())
    file.flush()
    return start


def _parsed(parse: Callable[[str], Tensor | Missing], cells: Sequence[str]) -> Iterator[Tensor]:
    """Yield values in order. From the first unreadable cell on, only collect errors, and raise them at the end."""

    def attempt(cell: str) -> Tensor | str:
        try:
            value = parse(cell)
            return f"is {value.rule}; leave the cell empty" if isinstance(value, Missing) else value
        except ValueError as error:
            return str(error)

    reasons = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(cells), _BLOCK):
            for index, value in enumerate(pool.map(attempt, cells[start : start + _BLOCK]), start):
                if isinstance(value, str):
                    reasons[index] = value
                elif not reasons:
                    yield value
    if reasons:
        raise UnreadableCells(reasons)
