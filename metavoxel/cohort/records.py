"""Parse CSV and TSV files: detect the delimiter, and locate unbalanced quotation marks."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from metavoxel.errors import CohortError, Problem

SUFFIXES = MappingProxyType({".csv": ",", ".tsv": "\t", ".tab": "\t"})
"""Extensions of tables, and their usual delimiters."""

_DELIMITERS = (",", "\t", ";", "|")
_NAMED = re.compile(r'"?sep=(.)"?\s*')
"""First line that declares the delimiter to spreadsheets."""

_COMPARED_ROWS = 200
"""Number of rows by which delimiters are compared."""


class Record(NamedTuple):
    """Stripped cells of one row, and its number as in a spreadsheet: empty rows count."""

    number: int
    cells: list[str]


class _Layout(NamedTuple):
    """Delimiter, and number of comment lines before the header."""

    delimiter: str
    skipped: int


def read_records(path: Path) -> list[Record]:
    """Read all non-empty rows of a file in UTF-8, the header first.

    Raises:
        CohortError: not text, or unbalanced quotation marks.
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
    number, position = layout.skipped, 0
    try:
        for number, cells in enumerate(reader, start=1 + layout.skipped):
            raw, position = lines[position : reader.line_num], reader.line_num
            if len(raw) > 1 and _joins_rows(raw, layout.delimiter, len(cells)):
                what = (
                    f"a quotation mark joins {len(raw)} lines into one row, each of which looks like a row. Remove it, "
                    "or write it twice in a quoted cell"
                )
                raise CohortError(Problem(f"{path} row {number}", what))
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                records.append(Record(number, stripped))
    except csv.Error as error:
        what = f"not a CSV or TSV file: {error}"
        if any('"' in line for line in lines[position : position + 1]):
            what += ". Its quotation marks do not match: remove the stray one, or write it twice in a quoted cell"
        raise CohortError(Problem(f"{path} row {number + 1}", what)) from error
    return records


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
