"""Tables of new rows from user input: a data frame, a path, or rows as dictionaries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas

from metavoxel.cohort.bids import read_bids
from metavoxel.cohort.table import Table, read_table, wrong_columns
from metavoxel.errors import CohortError, EvidenceError, Problem
from metavoxel.parts.variables.text import composed
from metavoxel.schema.schema import Schema

Rows: TypeAlias = (
    "Table | pandas.DataFrame | pandas.Series | Path | str | Mapping[str, object] | list[Mapping[str, object]]"
)
"""Types of input that :func:`as_table` accepts."""


def as_table(rows: object, schema: Schema, *, folder: Path | str | None = None) -> Table | pandas.DataFrame:
    """Convert rows to a table or a data frame.

    A path is read as a CSV or TSV table, or as a BIDS folder. A dictionary or Series of single values is one row, a
    dictionary of lists has columns, and a list of dictionaries has rows. ``folder`` is the base of a relative path.

    Raises:
        EvidenceError: other input.
        CohortError: all problems of the file.
    """
    if isinstance(rows, Table | pandas.DataFrame):
        return rows
    if isinstance(rows, str | Path):
        path = Path(folder or ".") / rows
        return read_bids(path, schema.specs) if path.is_dir() else read_table(path)
    if isinstance(rows, pandas.Series):
        rows = rows.to_dict()
    if isinstance(rows, Mapping) and all(isinstance(name, str) for name in rows):
        rows = dict(rows)
        several = [isinstance(cells, list | tuple | np.ndarray | pandas.Series) for cells in rows.values()]
        if rows and not any(several):
            return pandas.DataFrame([rows])
        if rows and all(several) and len({len(cells) for cells in rows.values()}) == 1:
            return pandas.DataFrame({name: list(cells) for name, cells in rows.items()})
    elif isinstance(rows, list | tuple) and rows and all(isinstance(row, Mapping) for row in rows):
        return pandas.DataFrame(list(rows))
    what = (
        f"must be a pandas.DataFrame, the path of a table, a dictionary of one row (or of columns of one length), or "
        f"a list of such rows, not {type(rows).__name__}"
    )
    raise EvidenceError(Problem("table", what))


def frame_table(frame: pandas.DataFrame, *, folder: Path | str | None = None) -> Table:
    """Convert a data frame to cells as in a file: stripped text, empty where pandas has a missing value.

    Raises:
        CohortError: columns without a name or with equal names, as in a file.
    """
    header = column_names(frame)
    if problems := wrong_columns("table", header):
        raise CohortError(problems)
    text = frame.set_axis(header, axis=1).reset_index(drop=True)
    text = text.astype(object).where(text.notna(), "").astype(str)
    text = text.apply(lambda column: column.str.strip()) if len(text) else text
    return Table(text, Path(folder or "."), "table", [f"table row {row + 1}" for row in range(len(text))])


def column_names(table: Table | pandas.DataFrame) -> list[str]:
    """Return the names of all columns as text; empty where pandas has a missing name."""
    if isinstance(table, Table):
        return list(map(str, table.frame.columns))
    return ["" if missing else composed(str(name).strip()) for name, missing in _named(table)]


def _named(frame: pandas.DataFrame) -> list[tuple[object, bool]]:
    return [(name, not isinstance(name, tuple) and bool(pandas.isna(name))) for name in frame.columns]


def subjects_of(table: Table | pandas.DataFrame, subjects: Sequence[str], schema: Schema) -> list[object]:
    """Return the rows' subjects, in a data frame's own type, so that results can be merged with it."""
    if isinstance(table, pandas.DataFrame):
        return list(table.iloc[:, column_names(table).index(schema.cohort.subject)])
    return list(subjects)
