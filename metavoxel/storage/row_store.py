"""Arrays with one entry per row, written to disk as they are computed and mapped into memory when read."""

import json
import math
import os
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8, UInt32
from torch import Tensor

from metavoxel.storage.atomic import flush_folder, located, write_text

SECONDS_BETWEEN_COMMITS = 20.0
"""Time between two flushes to disk: what a crash costs at most."""

BLOCK_BYTES = 2**26
"""Size of the blocks in which checksums are compared."""

_READERS = 4
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "int32": torch.int32,
}


@final
class RowStore:
    """Writer of a folder of arrays, which continues where an earlier process stopped.

    Each array is a raw file, ``NAME.bin``, with a checksum of every row in ``NAME.crc``. ``rows.json`` has the shapes
    and the number of work items done; an item counts once its rows are flushed to disk. Rows that are never written are
    zeros and take no space. Writing uses files instead of a memory map: a full disk then raises an error, where a map
    would crash.

    Args:
        folder: folder of the arrays.
        rows: length of the first axis of every array.
        items: number of work items after which the store is complete.
    """

    def __init__(self, folder: Path, rows: int, items: int) -> None:
        self.folder, self._rows, self._items = folder, rows, items
        self._files: dict[str, tuple[BinaryIO, BinaryIO]] = {}
        found = _read_index(folder)
        if found is None or (found.rows, found.items) != (rows, items):
            found = _Index(rows, items, 0, {})
        self.done, self._arrays = found.done, dict(found.arrays)
        self._committed = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> "RowStore":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def write(self, name: str, rows: Sequence[int], values: Tensor) -> None:
        """Write the entries of these rows to an array, which the first call creates.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        if not len(rows):
            return
        array = _Array(str(values.dtype).removeprefix("torch."), list(values.shape[1:]))
        content = values.detach().cpu().contiguous().view(torch.uint8).numpy().reshape(len(rows), -1)
        with located(self.folder):
            if name not in self._files:
                self._files[name] = self._open(name, array)
            (file, sums), size = self._files[name], content.shape[1]
            checksums = _checksums(content)
            for start, stop in _runs(rows):
                file.seek(rows[start] * size)
                file.write(content[start:stop].tobytes())
                sums.seek(rows[start] * checksums.itemsize)
                sums.write(checksums[start:stop].tobytes())

    def commit(self, done: int, *, now: bool = False) -> None:
        """Record that ``done`` items are complete, if ``now`` or some time after the last record.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        if not now and done < self._items and time.monotonic() - self._committed < SECONDS_BETWEEN_COMMITS:
            return
        with located(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in chain(*self._files.values()):
                file.flush()
                os.fsync(file.fileno())
            flush_folder(self.folder)
        _Index(self._rows, self._items, done, self._arrays).write(self.folder)
        self.done, self._committed = done, time.monotonic()

    def _open(self, name: str, array: "_Array") -> tuple[BinaryIO, BinaryIO]:
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = name not in self._arrays
        self._arrays[name] = array
        opened = []
        for path, size in array.files(self.folder / name, self._rows).items():
            file = self._stack.enter_context(path.open("wb" if fresh else "r+b"))
            if fresh:
                file.truncate(size)
            opened.append(file)
        return opened[0], opened[1]


def read_rows(folder: Path) -> dict[str, Tensor] | None:
    """Map the arrays of a complete store into memory; None if it is absent, incomplete or damaged.

    Changes of the tensors are not written to the files.
    """
    found = _read_index(folder)
    if found is None or found.done != found.items:
        return None
    return {name: array.mapped(folder / f"{name}.bin", found.rows) for name, array in found.arrays.items()}


def damage(folder: Path) -> str:
    """Compare the rows of a complete store with their checksums; describe the first array that differs, or return "".

    All of it is read, by several threads.
    """
    found = _read_index(folder)
    if found is None or found.done != found.items:
        return ""
    for name, array in found.arrays.items():
        checked = array.checked(folder / name, found.rows)
        starts = range(0, found.rows, max(1, BLOCK_BYTES // max(checked.row_bytes, 1)))
        ends = [*starts[1:], found.rows]
        with ThreadPoolExecutor(_READERS) as pool:
            wrong = [row for rows in pool.map(checked.wrong, map(np.arange, starts, ends)) for row in rows]
        if wrong:
            return f"{len(wrong)} of {found.rows} rows of {name!r} differ from their checksums, the first is {wrong[0]}"
    return ""


def read_array(folder: Path, name: str) -> "CheckedArray | None":
    """Map one array of a complete store of single precision into memory; None as for ``read_rows``."""
    found = _read_index(folder)
    if found is None or found.done != found.items or name not in found.arrays:
        return None
    return found.arrays[name].checked(folder / name, found.rows)


@final
class CheckedArray:
    """An array of a store, whose rows are compared with their checksums when they are first read.

    Attributes:
        shape: of the array, rows first.
        row_bytes: size of a row.
    """

    def __init__(self, content: UInt8[np.ndarray, "n k"], checksums: UInt32[np.ndarray, "n"], shape: list[int]) -> None:
        self.shape, self.row_bytes = (len(content), *shape), content.shape[1]
        self._content, self._checksums = content, checksums
        self._checked = np.zeros(len(content), bool)

    def wrong(self, rows: Int64[np.ndarray, "b"]) -> list[int]:
        """Return the rows, among these, that differ from their checksums."""
        unchecked = rows[~self._checked[rows]]
        good = _checksums(self._content[unchecked]) == self._checksums[unchecked]
        self._checked[unchecked[good]] = True
        return unchecked[~good].tolist()

    def read(self, rows: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b ..."]:
        """Return rows, in single precision, whether they are damaged or not."""
        return np.array(self._content[rows]).view("<f4").reshape(len(rows), *self.shape[1:])


class _Array(NamedTuple):
    """Type and shape of the entries of an array."""

    dtype: str
    shape: list[int]

    def size(self, rows: int) -> int:
        return rows * math.prod(self.shape) * _DTYPES[self.dtype].itemsize

    def files(self, path: Path, rows: int) -> dict[Path, int]:
        """Files of an array and their sizes: its rows, and their checksums."""
        return {path.with_name(f"{path.name}.bin"): self.size(rows), path.with_name(f"{path.name}.crc"): 4 * rows}

    def checked(self, path: Path, rows: int) -> "CheckedArray":
        content, checksums = (
            np.memmap(file, np.uint8, mode="r") if size else np.zeros(0, np.uint8)
            for file, size in self.files(path, rows).items()
        )
        return CheckedArray(content.reshape(rows, self.size(1)), checksums.view("<u4"), self.shape)

    def mapped(self, path: Path, rows: int) -> Tensor:
        shape, dtype = (rows, *self.shape), _DTYPES[self.dtype]
        if not math.prod(shape):
            return torch.zeros(shape, dtype=dtype)
        return torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=dtype).reshape(shape)


class _Index(NamedTuple):
    """Content of ``rows.json``."""

    rows: int
    items: int
    done: int
    arrays: dict[str, _Array]

    def write(self, folder: Path) -> None:
        content = {**self._asdict(), "arrays": {name: array._asdict() for name, array in self.arrays.items()}}
        write_text(folder / "rows.json", json.dumps(content) + "\n")


def _read_index(folder: Path) -> _Index | None:
    """Read ``rows.json``; None if there is none, or an array has not the size that it states."""
    try:
        found = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
        arrays = {name: _Array(array["dtype"], array["shape"]) for name, array in found["arrays"].items()}
        index = _Index(int(found["rows"]), int(found["items"]), int(found["done"]), arrays)
        sizes = chain(*(array.files(folder / name, index.rows).items() for name, array in arrays.items()))
        return index if all(path.stat().st_size == size for path, size in sizes) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _checksums(content: UInt8[np.ndarray, "b k"]) -> UInt32[np.ndarray, "b"]:
    """CRC-32 of each row, relative to that of zeros: rows that were never written have 0."""
    zeros = zlib.crc32(bytes(content.shape[1]))
    return np.array([zlib.crc32(row) ^ zeros for row in np.ascontiguousarray(content)], "<u4")


def _runs(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Divide a sequence into ranges of consecutive numbers, as (start, stop) positions."""
    cuts = [0, *(place for place in range(1, len(rows)) if rows[place] != rows[place - 1] + 1), len(rows)]
    return [(start, stop) for start, stop in pairwise(cuts) if start < stop]
