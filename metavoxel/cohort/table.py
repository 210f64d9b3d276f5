"""Read CSV and TSV files as tables of text."""

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final, overload

import pandas

from metavoxel.cohort.records import SUFFIXES, OtherLength, read_records
from metavoxel.errors import CohortError, Problem
from metavoxel.images.fetched import absence
from metavoxel.parts.variables.text import composed

_EXAMPLES = 5


@final
@dataclass(frozen=True, eq=False)
class Table:
    """Cells as stripped text, with the location of each row for messages.

    ``folder`` is the base of relative paths in the cells. ``source`` and ``places`` name the file and its rows,
    numbered as in a spreadsheet: the header is row 1. ``notices`` are warnings of the reader.
    """

    frame: pandas.DataFrame
    folder: Path
    source: str
    places: Sequence[str]
    notices: tuple[Problem, ...] = ()


def read_table(path: Path) -> Table:
    """Read a CSV or TSV file in UTF-8 with a header; skip empty rows, and comment lines (#) before the header.

    The delimiter is the comma, tab, semicolon or pipe under which rows are as long as the header, unless a first line
    such as ``sep=;`` declares it.

    Raises:
        CohortError: no such file, not text, columns without a name or of one name, rows of another length, a quotation
            mark that joins rows, no rows.
    """
    if reason := absence(path):
        if not path.is_symlink() and not path.exists():
            near = sorted(file.name for file in path.parent.glob("*") if file.suffix.lower() in SUFFIXES)
            reason = f"no such table; its folder has {', '.join(near) or 'none'}"
        raise CohortError(Problem(str(path), reason))
    records = read_records(path)
    if records is None:
        raise CohortError(Problem(str(path), "the table is empty: it has no header"))
    header = [composed(name) for name in records.header]
    problems = wrong_columns(f"{path} row 1", header) + _wrong_lengths(path, header, records.others)
    if not problems and not len(records.numbers):
        problems = [Problem(str(path), "no usable rows: the table has a header only")]
    if problems:
        raise CohortError(problems)
    # Text as objects: pandas' own type would copy every cell.
    frame = pandas.DataFrame(dict(zip(header, records.columns, strict=True)), dtype=object)
    return Table(frame, path.parent, path.name, NumberedRows(path.name, records.numbers))


def wrong_columns(where: str, header: Sequence[str]) -> list[Problem]:
    """Report each column without a name, and each name of several columns."""
    problems = [
        Problem(where, f"column {number} has no name; name it or remove it")
        for number, name in enumerate(header, start=1)
        if not name
    ]
    return problems + [
        Problem(where, f"{count} columns are named {name!r}; names must differ")
        for name, count in Counter(header).items()
        if name and count > 1
    ]


def _wrong_lengths(path: Path, header: Sequence[str], rows: Sequence[OtherLength]) -> list[Problem]:
    """Report rows that differ in length from the header: each, or one problem per length if there are many."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        by_length[row.length].append(row.number)
    comments = {row.number for row in rows if row.comment}
    problems = []
    for length, numbers in by_length.items():
        what = f"{length} cells where the header has {len(header)} columns"
        if not comments.isdisjoint(numbers):
            what += " (comment lines, #, are allowed before the header only: remove it)"
        if len(numbers) <= _EXAMPLES:
            problems += [Problem(f"{path} row {number}", what) for number in numbers]
        else:
            shown = ", ".join(map(str, numbers[:_EXAMPLES]))
            more = f"{shown} and {len(numbers) - _EXAMPLES} more"
            what += ". Use one delimiter in the header and all rows, and put quotes around cells that contain it"
            problems.append(Problem(f"{path} rows {more}", what))
    return problems


class AbstractTexts(Sequence[str]):
    """Texts that are made when they are needed."""

    @abstractmethod
    def text(self, index: int) -> str:
        """Return one text."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self.text(place) for place in range(*index.indices(len(self)))]
        return self.text(index)


@final
@dataclass(frozen=True, eq=False)
class NumberedRows(AbstractTexts):
    """Locations of the rows of a file, made when they are needed: ``FILE row NUMBER``."""

    file: str
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def text(self, index: int) -> str:
        return f"{self.file} row {self.numbers[index]}"


@final
@dataclass(frozen=True, eq=False)
class RowsOfSubjects(AbstractTexts):
    """Locations of rows with their subjects, made when they are needed: ``FILE row NUMBER (SUBJECT)``."""

    places: Sequence[str]
    subjects: Sequence[str]

    def __len__(self) -> int:
        return len(self.places)

    def text(self, index: int) -> str:
        place, subject = self.places[index], self.subjects[index]
        return place if f"({subject})" in place else f"{place} ({subject})"
