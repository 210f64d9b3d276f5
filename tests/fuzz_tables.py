"""Fuzzing of tables: damaged tables are refused or read."""

from pathlib import Path

import numpy as np
from fuzz_limits import Counts, attempt
from fuzz_texts import ODD_NUMBERS, encoded, one_of, with_odd_character, with_piece_moved

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import build_cohort
from metavoxel.cohort.table import read_table
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.schema.settings import CohortSettings

NAMES = ("a.csv", "a.tsv")

_VARIABLES = {
    "age": ContinuousSpec(valid=(10, 90)),
    "score": ContinuousSpec(),
    "sex": CategoricalSpec(categories=["F", "M"]),
    "site": CategoricalSpec(categories={"Bonn": "007", "Kiel": "10"}),
}
_HEADER = ["participant_id", "age", "score", "sex", "site", "note"]
_ROWS = [
    [f"s{row:02}", f"{20 + row}", f"{row * 1.25 - 7}", "FM"[row % 2], ("007", "10", "n/a")[row % 3], f"note {row}"]
    for row in range(24)
]
_MISSING = ["", "n/a", -999, "NaN"]


def damaged_table(delimiter: str, rng: np.random.Generator) -> bytes:
    """Return the bytes of a small table with random defects."""
    header, rows = list(_HEADER), [list(row) for row in _ROWS]
    if rng.integers(2):
        _damage_cells(header, rows, rng)
    if rng.integers(8) == 0:
        delimiter = one_of((",", "\t", ";", "|", " ", ":", ", ", "\0"), rng)
    newline = one_of(("\n", "\n", "\n", "\r\n", "\r", "\n\n", "\r\r\n", "\x85"), rng)
    text = newline.join(delimiter.join(row) for row in [header, *rows]) + one_of((newline, ""), rng)
    if rng.integers(10) == 0:
        text = one_of(("sep=;\n", f"sep={delimiter}\n", "# a comment\n", "\n\n", '"sep=\t"\n', "sep=\n"), rng) + text
    for _ in range(int(rng.integers(3))):
        text = one_of((with_odd_character, with_piece_moved), rng)(text, rng)
    return encoded(text, rng)


def _damage_cells(header: list[str], rows: list[list[str]], rng: np.random.Generator) -> None:
    """Change cells, columns or rows in place."""
    row, column = int(rng.integers(len(rows))), int(rng.integers(len(header)))
    odd = one_of(ODD_NUMBERS, rng)
    match int(rng.integers(10)):
        case 0 | 1:
            rows[row][column] = odd
        case 2:
            for cells in rows:
                cells[column] = odd
        case 3:
            rows[row][column] = one_of(("x", "9", '"', "a,", " ", "\u00e9"), rng) * 10 ** int(rng.integers(3, 5))
        case 4:
            header[column] = one_of((*header, "", " ", "note\0", "AGE", "age\u200b", odd), rng)
        case 5:
            del rows[row][column:]
        case 6:
            rows[row] += [odd] * int(rng.integers(1, 2000))
        case 7:
            del rows[int(rng.integers(3)) :]
        case 8:
            rows[row] = list(rows[0])
        case _:
            rows[row][column] = f'"{rows[row][column]}' + one_of(("", '"', '""', '"x', '\n"', '"" "'), rng)


def fuzz_tables(folder: Path, name: str, count: int, seed: int = 0) -> Counts:
    """Read ``count`` damaged tables of this name, some with random missing codes.

    Raises:
        AssertionError: see :func:`fuzz_limits.attempt`; or a value that is not finite.
    """
    rng = np.random.default_rng([seed, *name.encode()])
    path, counts = folder / name, Counts()
    for number in range(count):
        path.write_bytes(damaged_table("," if name.endswith(".csv") else "\t", rng))
        missing = _MISSING if rng.integers(4) else [*_MISSING, *(one_of(ODD_NUMBERS, rng) for _ in range(3))]
        settings = CohortSettings(table=path, missing=missing)
        split, where = bool(rng.integers(2)), f"{name}, table {number} of seed {seed}"
        counts = counts.with_one(attempt(lambda: _cohort(path, settings, split), where))  # noqa: B023
    return counts


def _cohort(path: Path, settings: CohortSettings, split: bool) -> Cohort:
    cohort = build_cohort(read_table(path), _VARIABLES, settings, split=split)
    for column in cohort.columns.values():
        assert len(column.present) == len(cohort) == len(cohort.row_keys) == len(set(cohort.row_keys))
        assert np.isfinite(np.asarray(column.values)).all()
    return cohort
