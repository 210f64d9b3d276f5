"""Lines of a CSV or TSV file to rows of cells: which sign separates them, and where quotation marks go wrong."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from metavoxel.errors import CohortError, Problem

SUFFIXES = MappingProxyType({".csv": ",", ".tsv": "\t", ".tab": "\t"})
"""Extensions of tables, and what usually separates their cells."""

_DELIMITERS = (",", "\t", ";", "|")
_NAMED = re.compile(r'"?sep=(.)"?\s*')
"""The first line by which spreadsheets are told the separator."""

_TRIED = 200
"""Rows by which separators are compared."""


class Record(NamedTuple):
    """One row's stripped cells, and its number: rows are counted as a spreadsheet does, the empty ones too."""

    number: int
    cells: list[str]


class _Layout(NamedTuple):
    """What separates cells, and the lines of comment before the header."""

    delimiter: str
    skipped: int


def read_records(path: Path) -> list[Record]:
    """All rows of a file in UTF-8 that hold any text, the header first.

    Raises:
        CohortError: not text, or quotation marks that do not match.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CohortError(Problem(str(path), f"not text in UTF-8 ({error}); save it in that encoding")) from error
    lines = list(io.StringIO(text, newline=""))
    named = _NAMED.fullmatch(lines[0]) if lines else None
    if named:
        lines = lines[1:]
    layout = _layout(lines, SUFFIXES.get(path.suffix.lower(), "\t"), named[1] if named else None)
    lines = lines[layout.skipped :]
    reader = csv.reader(lines, delimiter=layout.delimiter, strict=True)
    records: list[Record] = []
    number, begun = layout.skipped, 0
    try:
        for number, cells in enumerate(reader, start=1 + layout.skipped):
            raw, begun = lines[begun : reader.line_num], reader.line_num
            if len(raw) > 1 and _swallows(raw, layout.delimiter, len(cells)):
                what = (
                    f"a quotation mark in it makes one row of {len(raw)} lines, each of which looks like a row. "
                    "Remove it, or write it twice in a quoted cell"
                )
                raise CohortError(Problem(f"{path} row {number}", what))
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                records.append(Record(number, stripped))
    except csv.Error as error:
        what = f"not a CSV or TSV file: {error}"
        if any('"' in line for line in lines[begun : begun + 1]):
            what += ". Its quotation marks do not match: remove the stray one, or write it twice in a quoted cell"
        raise CohortError(Problem(f"{path} row {number + 1}", what)) from error
    return records


def _swallows(raw: Sequence[str], delimiter: str, length: int) -> bool:
    """Whether every line of one quoted row has as many cells as a row of the table, which text hardly has by chance."""
    # A sign before a blank is part of a sentence.
    counts = {line.count(delimiter) - line.count(f"{delimiter} ") for line in raw}
    return length > 2 and counts == {length - 1}


def _layout(lines: Sequence[str], usual: str, named: str | None) -> _Layout:
    """The separator under which all rows are as long as the header, of several that with most columns.

    Comments are skipped where that makes rows agree, for a header may begin with a # too. Where nothing agrees, the
    usual separator of such files if the header has it, else the commonest in it.
    """
    comments = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    delimiters = [named] if named else [usual, *(sign for sign in _DELIMITERS if sign != usual)]
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
    """Columns of the header where the rows below have as many cells; 0 where they have not."""
    rows = []
    try:
        for cells in csv.reader(lines, delimiter=delimiter, strict=True):
            if any(map(str.strip, cells)):
                rows.append(len(cells))
            if len(rows) > _TRIED:
                break
    except csv.Error:
        return 0
    return rows[0] if rows and len(set(rows)) == 1 else 0
