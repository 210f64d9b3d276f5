"""Parse CSV and TSV files: detect the delimiter, and locate unbalanced quotation marks."""

import csv
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, final

from metavoxel.errors import CohortError, Problem

SUFFIXES = MappingProxyType({".csv": ",", ".tsv": "\t", ".tab": "\t"})
"""Extensions of tables, and their usual delimiters."""

_DELIMITERS = (",", "\t", ";", "|")
_NAMED = re.compile(r'"?sep=(.)"?\s*')
"""First line that declares the delimiter to spreadsheets."""

_COMPARED_ROWS, _COMPARED_LINES = 200, 100_000
"""Number of rows by which delimiters are compared, and of the lines that may hold them, comments included."""

_BLOCK, _MOST_POOLED = 4096, 0.5
"""Rows added at once, and share of distinct cells from which equal ones no longer share an object."""


class OtherLength(NamedTuple):
    """Row that differs in length from the header: its number, its number of cells, and whether it is a comment (#)."""

    number: int
    length: int
    comment: bool


@final
@dataclass(frozen=True, eq=False)
class Records:
    """Stripped cells of a file by column, without empty rows.

    Attributes:
        header: names of the columns.
        columns: cells of each column, in rows as long as the header; equal cells are mostly one object.
        numbers: number of each row, as in a spreadsheet: the header is 1 and empty rows count.
        others: rows of another length.
    """

    header: list[str]
    columns: list[list[str]]
    numbers: Sequence[int]
    others: list[OtherLength]


class _Layout(NamedTuple):
    """Delimiter, and number of comment lines before the header."""

    delimiter: str
    skipped: int


def read_records(path: Path) -> Records | None:
    """Read all non-empty rows of a file in UTF-8; None if there are none.

    Raises:
        CohortError: not text, or unbalanced quotation marks.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            start = list(islice(file, _COMPARED_LINES))
        named = _NAMED.fullmatch(start[0]) if start else None
        skipped = 1 if named else 0
        layout = _layout(start[skipped:], SUFFIXES.get(path.suffix.lower(), "\t"), named[1] if named else None)
        found = _Columns()
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, cells in _stripped_rows(path, _Lines(file, skipped + layout.skipped), layout):
                found.add(number, cells)
    except UnicodeDecodeError as error:
        raise CohortError(Problem(str(path), f"not text in UTF-8 ({error}); save it in that encoding")) from error
    return found.records()


def _stripped_rows(path: Path, lines: "_Lines", layout: _Layout) -> Iterator[tuple[int, list[str]]]:
    """Yield number and stripped cells of every row that is not empty.

    Raises:
        CohortError: unbalanced quotation marks.
    """
    reader = csv.reader(lines, delimiter=layout.delimiter, strict=True)
    number, position = layout.skipped, 0
    try:
        for number, cells in enumerate(reader, start=1 + layout.skipped):
            if reader.line_num - position > 1 and _joins_rows(lines.last, layout.delimiter, len(cells)):
                what = (
                    f"a quotation mark joins {len(lines.last)} lines into one row, each of which looks like a row. "
                    "Remove it, or write it twice in a quoted cell"
                )
                raise CohortError(Problem(f"{path} row {number}", what))
            position = reader.line_num
            lines.last.clear()
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield number, stripped
    except csv.Error as error:
        what = f"not a CSV or TSV file: {error}"
        if any('"' in line for line in lines.last[:1]):
            what += ". Its quotation marks do not match: remove the stray one, or write it twice in a quoted cell"
        raise CohortError(Problem(f"{path} row {number + 1}", what)) from error


class _Lines:
    """Lines of a text after the first few; ``last`` has those of the current row. Final."""

    def __init__(self, text: Iterable[str], skipped: int) -> None:
        self._text, self.last = islice(text, skipped, None), list[str]()

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self.last.append(line)
            yield line


class _Columns:
    """Rows collected by column. Final.

    A million rows of seven cells are 0.5 GB as separate texts. Equal cells of a column share one object, unless most
    of its first cells differ, as identifiers do.
    """

    def __init__(self) -> None:
        self._header: list[str] | None = None
        self._columns: list[list[str]] = []
        self._pools: list[dict[str, str] | None] = []
        self._numbers, self._waiting = array("q"), list[list[str]]()
        self._others: list[OtherLength] = []

    def add(self, number: int, cells: list[str]) -> None:
        if self._header is None:
            self._header = cells
            self._columns, self._pools = [[] for _ in cells], [{} for _ in cells]
        elif len(cells) != len(self._header):
            self._others.append(OtherLength(number, len(cells), cells[0].startswith("#")))
        else:
            self._numbers.append(number)
            self._waiting.append(cells)
            if len(self._waiting) == _BLOCK:
                self._flush()

    def records(self) -> Records | None:
        if self._header is None:
            return None
        self._flush()
        return Records(self._header, self._columns, self._numbers, self._others)

    def _flush(self) -> None:
        for index, cells in enumerate(zip(*self._waiting, strict=True)):
            pool = self._pools[index]
            self._columns[index].extend(cells if pool is None else map(pool.setdefault, cells, cells))
            if pool is not None and len(pool) > _MOST_POOLED * max(len(self._columns[index]), _BLOCK):
                self._pools[index] = None
        self._waiting = []


def _joins_rows(raw: Sequence[str], delimiter: str, length: int) -> bool:
    """Whether every line of a quoted row has as many cells as a table row, which is improbable for text."""
    # A delimiter before a space is punctuation.
    counts = {line.count(delimiter) - line.count(f"{delimiter} ") for line in raw}
    return length > 2 and counts == {length - 1}


def _layout(lines: Sequence[str], usual: str, named: str | None) -> _Layout:
    """Choose the delimiter under which all rows are as long as the header; of several, that with most columns.

    Comments are skipped where that makes the rows agree, since a header may also start with #. If no delimiter fits,
    use the usual one of such files if the header has it, else the most frequent in the header.
    """
    comments = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    delimiters = [named] if named else [usual, *(other for other in _DELIMITERS if other != usual)]
    for skipped in dict.fromkeys((0, comments)):
        found = [(_columns(lines[skipped:], delimiter), delimiter) for delimiter in delimiters]
        most, best = max(found, key=lambda one: one[0])
        if most > 1:
            return _Layout(best, skipped)
    header = next(iter(lines[comments:]), "")
    if named or usual in header:
        return _Layout(named or usual, comments)
    best = max(delimiters, key=header.count)
    return _Layout(best if best in header else usual, comments)


def _columns(lines: Sequence[str], delimiter: str) -> int:
    """Number of columns of the header if all rows have as many cells, else 0."""
    rows = []
    try:
        for cells in csv.reader(lines, delimiter=delimiter, strict=True):
            if any(map(str.strip, cells)):
                rows.append(len(cells))
            if len(rows) > _COMPARED_ROWS:
                break
    except csv.Error:
        return 0
    return rows[0] if rows and len(set(rows)) == 1 else 0
