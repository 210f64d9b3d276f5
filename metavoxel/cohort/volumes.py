"""Preprocess the images of a cohort once, in parallel, into a memory-mapped file."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from metavoxel.parts.variables.base import Missing
from metavoxel.storage.atomic import located, locked
from metavoxel.storage.row_store import RowStore, read_array

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
    """Parse every cell into a read-only array on disk: in the folder ``path``, or in an unnamed temporary file.

    An existing folder is reused, so its name must identify everything that its contents depend on. An interrupted call
    is continued by the next; of several processes, one reads and the others wait.

    Raises:
        UnreadableCells: ``parse`` raised ValueError for these, or set them to missing; all cells are tried.
        RunError: the disk is full, or ``path`` cannot be written.
    """
    full_shape = (len(cells), *shape)
    if not cells:
        return np.zeros(full_shape, np.float32)
    if path is None:
        with located(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
            for volume in _parsed(parse, cells):
                file.write(np.ascontiguousarray(volume.numpy(), "<f4").tobytes())
            file.flush()
            return np.memmap(file, "<f4", mode="r", shape=full_shape)
    known = _open(path, full_shape)
    if known is not None:
        return known
    with locked(path):
        try:
            with RowStore(path, len(cells), len(cells)) as store:
                for row, volume in enumerate(_parsed(parse, cells[store.done :]), store.done):
                    store.write("values", [row], volume[None].float())
                    store.commit(row + 1)
        except UnreadableCells:
            shutil.rmtree(path, ignore_errors=True)
            raise
    volumes = _open(path, full_shape)
    if volumes is None:
        raise OSError(f"{path} was replaced by something else while it was being written")
    return volumes


def _open(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "n *d"] | None:
    """Map the array in ``path``; None if absent, incomplete or of another shape."""
    volumes = read_array(path, "values")
    return volumes if volumes is not None and volumes.shape == shape else None


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
