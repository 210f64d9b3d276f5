"""Preprocess the images of a cohort once, in parallel, into memory-mapped files."""

import hashlib
import math
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, Int64
from torch import Tensor

from metavoxel.errors import CohortError, Problem, RunWarning
from metavoxel.images.file_cache import FileCache
from metavoxel.parts.variables.base import Missing
from metavoxel.parts.variables.column import AbstractVolumes
from metavoxel.storage.atomic import located, locked
from metavoxel.storage.row_store import CheckedArray, RowStore, read_array

_READERS = 4
MOST_BYTES = 2**31
"""Size of the volumes that a check keeps in a temporary file: others are parsed again if they are read."""
_BLOCK = 16
"""Number of images parsed per block, and held in memory at once."""


class UnreadableCells(Exception):
    """Raised once for all cells that could not be parsed, with the reasons by position."""

    def __init__(self, reasons: dict[int, str]) -> None:
        self.reasons = reasons
        super().__init__(f"{len(reasons)} unreadable cells")


@final
class TemporaryVolumes(AbstractVolumes):
    """Volumes that are parsed when they are first read, and kept in an unnamed temporary file.

    Args:
        parse: reads a cell; raises ValueError for one that is unreadable.
        cells: source of each volume.
        shape: of a volume.
    """

    def __init__(self, parse: Callable[[str], Tensor | Missing], cells: Sequence[str], shape: tuple[int, ...]) -> None:
        self._parse, self._cells, self._shape = parse, cells, shape
        self._kept, self._parsed = np.zeros(len(cells), bool), np.zeros(len(cells), bool)
        with located(Path(tempfile.gettempdir())):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the volumes
            weakref.finalize(self, self._file.close)
            self._file.truncate(max(len(cells) * self._bytes, 1))

    def parse(self, positions: Iterable[int], *, most_bytes: float = math.inf) -> None:
        """Parse the volumes at these positions that are not kept yet, and keep the first ones, up to ``most_bytes``.

        Raises:
            UnreadableCells: ``parse`` raised ValueError for these, or set them to missing; all of them are tried.
            RunError: the disk is full.
        """
        wanted = [position for position in dict.fromkeys(positions) if not self._kept[position]]
        try:
            for place, volume in enumerate(_parsed(self._parse, [self._cells[position] for position in wanted])):
                position = wanted[place]
                self._parsed[position] = True
                if (place + 1) * self._bytes > most_bytes:
                    continue
                with located(Path(tempfile.gettempdir())):
                    self._file.seek(position * self._bytes)
                    self._file.write(np.ascontiguousarray(volume.numpy(), "<f4").tobytes())
                    self._file.flush()
                self._kept[position] = True
        except UnreadableCells as error:
            raise UnreadableCells({wanted[place]: reason for place, reason in error.reasons.items()}) from error

    def read(self, positions: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b *d"]:
        """Return volumes; those that are not kept yet are parsed.

        Raises:
            CohortError: files that cannot be read (any more).
            RunError: the disk is full.
        """
        try:
            self.parse(positions.tolist())
        except UnreadableCells as error:
            found = error.reasons.items()
            raise CohortError([Problem(self._cells[position], reason) for position, reason in found]) from error
        if not len(self._cells):
            return np.zeros((0, *self._shape), np.float32)
        kept = np.memmap(self._file, "<f4", mode="r", shape=(len(self._cells), *self._shape))
        return np.array(kept[positions], np.float32)

    def is_parsed(self, position: int) -> bool:
        """Whether a volume has been parsed."""
        return bool(self._parsed[position])

    @property
    def _bytes(self) -> int:
        return 4 * math.prod(self._shape)


def temporary_volumes(
    parse: Callable[[str], Tensor | Missing], cells: Sequence[str], shape: tuple[int, ...], *, known: str | None = None
) -> TemporaryVolumes:
    """Parse every cell into a temporary file.

    Args:
        parse: reads a cell; raises ValueError for one that is unreadable.
        cells: source of each volume.
        shape: of a volume.
        known: settings of ``parse``, as text. If given, files that were parsed with the same before, and have not
            changed, are parsed only when they are read, and no more than ``MOST_BYTES`` are kept before.

    Raises:
        UnreadableCells: ``parse`` raised ValueError for these, or set them to missing; all cells are tried.
        RunError: the disk is full.
    """
    volumes = TemporaryVolumes(parse, cells, shape)
    if known is None:
        volumes.parse(range(len(cells)))
        return volumes
    settings = hashlib.blake2b(known.encode(), digest_size=16).hexdigest()
    with FileCache(cells, "read") as cache:
        unread = [position for position, cell in enumerate(cells) if cache.get(cell) != settings]
        try:
            volumes.parse(unread, most_bytes=MOST_BYTES)
        finally:
            for position in unread:
                if volumes.is_parsed(position):
                    cache.put(cells[position], settings)
    return volumes


def load_volumes(
    parse: Callable[[str], Tensor | Missing], cells: Sequence[str], shape: tuple[int, ...], *, path: Path
) -> AbstractVolumes:
    """Parse every cell into the folder ``path``.

    An existing folder is reused, so its name must identify everything that its contents depend on. An interrupted call
    is continued by the next; of several processes, one reads and the others wait.

    Raises:
        UnreadableCells: ``parse`` raised ValueError for these, or set them to missing; all cells are tried.
        RunError: the disk is full, or ``path`` cannot be written.
    """
    if not cells:
        return TemporaryVolumes(parse, cells, shape)
    known = _open(path, (len(cells), *shape))
    if known is not None:
        return _StoredVolumes(known, path, parse, cells)
    with locked(path):
        try:
            with RowStore(path, len(cells), len(cells)) as store:
                for row, volume in enumerate(_parsed(parse, cells[store.done :]), store.done):
                    store.write("values", [row], volume[None].float())
                    store.commit(row + 1)
        except UnreadableCells:
            shutil.rmtree(path, ignore_errors=True)
            raise
    volumes = _open(path, (len(cells), *shape))
    if volumes is None:
        raise OSError(f"{path} was replaced by something else while it was being written")
    return _StoredVolumes(volumes, path, parse, cells)


@final
class _StoredVolumes(AbstractVolumes):
    """Volumes in a folder, compared with their checksums when first read; a damaged one is parsed again."""

    def __init__(
        self, array: CheckedArray, path: Path, parse: Callable[[str], Tensor | Missing], cells: Sequence[str]
    ) -> None:
        self._array, self._path, self._parse, self._cells = array, path, parse, cells

    def read(self, positions: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b *d"]:
        """Return volumes, with a warning about damaged ones.

        Raises:
            CohortError: the file of a damaged one cannot be read any more.
        """
        values = self._array.read(positions)
        damaged = self._array.wrong(positions)
        if not damaged:
            return values
        cells = [self._cells[position] for position in damaged]
        what = f"the preprocessed image differs from its checksum; {cells[0]} is read again ({len(cells)} such images)"
        warnings.warn(f"{self._path}: {what}", RunWarning, stacklevel=2)
        try:
            parsed = dict(zip(damaged, _parsed(self._parse, cells), strict=True))
        except UnreadableCells as error:
            raise CohortError([Problem(cells[place], reason) for place, reason in error.reasons.items()]) from error
        for place, position in enumerate(positions.tolist()):
            if position in parsed:
                values[place] = parsed[position].numpy()
        return values


def _open(path: Path, shape: tuple[int, ...]) -> CheckedArray | None:
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
