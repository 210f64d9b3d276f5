"""Tables of text: CSV and TSV files."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pandas

from metavoxel.errors import CohortError, Problem

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


@final
@dataclass(frozen=True, eq=False)
class Table:
    """Cells as stripped text, and where each row came from, for messages.

    ``folder`` is where relative paths in the cells start; ``source`` and ``places`` name the file and its rows, counted
    as a spreadsheet does: the header is row 1. ``notices`` are what a reader of the cohort should know of its making.
    """

    frame: pandas.DataFrame
    folder: Path
    source: str
    places: list[str]
    notices: tuple[Problem, ...] = ()


def read_table(path: Path) -> Table:
    """A CSV or TSV file in UTF-8, with a header; empty rows are skipped.

    Raises:
        CohortError: no such file, not text, columns without a name or of one name, rows of another length, no rows.
    """
    if not path.is_file():
        near = sorted(file.name for file in path.parent.glob("*") if file.suffix.lower() in _DELIMITERS)
        raise CohortError(Problem(str(path), f"no such table; its folder has {', '.join(near) or 'none'}"))
    try:
        records = list(_records(path))
    except UnicodeDecodeError as error:
        raise CohortError(Problem(str(path), f"not text in UTF-8 ({error}); save it in that encoding")) from error
    except csv.Error as error:
        raise CohortError(Problem(str(path), f"not a CSV or TSV file: {error}")) from error
    if not records:
        raise CohortError(Problem(str(path), "the table is empty: it has no header"))
    (_, header), *rows = records
    problems = [
        Problem(f"{path} row 1", f"column {number} has no name; name it or remove it")
        for number, name in enumerate(header, start=1)
        if not name
    ]
    problems += [
        Problem(f"{path} row 1", f"{count} columns are named {name!r}; names must differ")
        for name, count in Counter(header).items()
        if name and count > 1
    ]
    problems += [
        Problem(f"{path} row {number}", f"{len(cells)} cells where the header has {len(header)} columns")
        for number, cells in rows
        if len(cells) != len(header)
    ]
    if not problems and not rows:
        problems = [Problem(str(path), "no usable rows: the table has a header only")]
    if problems:
        raise CohortError(problems)
    frame = pandas.DataFrame([cells for _, cells in rows], columns=header, dtype=str)
    return Table(frame, path.parent, path.name, [f"{path.name} row {number}" for number, _ in rows])


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbered rows that hold any text."""
    delimiter = _delimiter(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, cells in enumerate(csv.reader(file, delimiter=delimiter, strict=True), start=1):
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield number, stripped


def _delimiter(path: Path) -> str:
    """By the file's extension, or the commonest in the header where that would leave a single column."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    usual = _DELIMITERS.get(path.suffix.lower(), "\t")
    if usual in header:
        return usual
    counts = {mark: header.count(mark) for mark in (",", "\t", ";")}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else usual
