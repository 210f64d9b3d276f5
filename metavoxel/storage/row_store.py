"""Arrays with one entry per row, written to disk as they are computed and mapped into memory when read."""

import json
import math
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from metavoxel.storage.atomic import flush_folder, located, write_text

SECONDS_BETWEEN_COMMITS = 20.0
"""Time between two flushes to disk: what a crash costs at most."""

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

    Each array is a raw file, ``NAME.bin``. ``rows.json`` has the shapes and the number of work items done; an item
    counts once its rows are flushed to disk. Rows that are never written are zeros and take no space. Writing uses
    files instead of a memory map: a full disk then raises an error, where a map would crash.

    Args:
        folder: folder of the arrays.
        rows: length of the first axis of every array.
        items: number of work items after which the store is complete.
    """

    def __init__(self, folder: Path, rows: int, items: int) -> None:
        self.folder, self._rows, self._items = folder, rows, items
        self._files: dict[str, BinaryIO] = {}
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
            file, size = self._files[name], content.shape[1]
            for start, stop in _runs(rows):
                file.seek(rows[start] * size)
                file.write(content[start:stop].tobytes())

    def commit(self, done: int, *, now: bool = False) -> None:
        """Record that ``done`` items are complete, if ``now`` or some time after the last record.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        if not now and done < self._items and time.monotonic() - self._committed < SECONDS_BETWEEN_COMMITS:
            return
        with located(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            flush_folder(self.folder)
        _Index(self._rows, self._items, done, self._arrays).write(self.folder)
        self.done, self._committed = done, time.monotonic()

    def _open(self, name: str, array: "_Array") -> BinaryIO:
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = name not in self._arrays
        self._arrays[name] = array
        file = self._stack.enter_context((self.folder / f"{name}.bin").open("wb" if fresh else "r+b"))
        if fresh:
            file.truncate(array.size(self._rows))
        return file


def read_rows(folder: Path) -> dict[str, Tensor] | None:
    """Map the arrays of a complete store into memory; None if it is absent, incomplete or damaged.

    Changes of the tensors are not written to the files.
    """
    found = _read_index(folder)
    if found is None or found.done != found.items:
        return None
    return {name: array.mapped(folder / f"{name}.bin", found.rows) for name, array in found.arrays.items()}


def read_array(folder: Path, name: str) -> Shaped[np.ndarray, "n ..."] | None:
    """Map one array of a complete store as read-only NumPy array of single precision; None as for ``read_rows``."""
    found = _read_index(folder)
    if found is None or found.done != found.items or name not in found.arrays:
        return None
    return np.memmap(folder / f"{name}.bin", "<f4", mode="r", shape=(found.rows, *found.arrays[name].shape))


class _Array(NamedTuple):
    """Type and shape of the entries of an array."""

    dtype: str
    shape: list[int]

    def size(self, rows: int) -> int:
        return rows * math.prod(self.shape) * _DTYPES[self.dtype].itemsize

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
        sizes = {folder / f"{name}.bin": array.size(index.rows) for name, array in arrays.items()}
        return index if all(path.stat().st_size == size for path, size in sizes.items()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _runs(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Divide a sequence into ranges of consecutive numbers, as (start, stop) positions."""
    cuts = [0, *(place for place in range(1, len(rows)) if rows[place] != rows[place - 1] + 1), len(rows)]
    return [(start, stop) for start, stop in pairwise(cuts) if start < stop]
