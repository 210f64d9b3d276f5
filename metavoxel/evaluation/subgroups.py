"""Subgroups of test rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from metavoxel.errors import EvidenceError, Problem, did_you_mean
from metavoxel.evaluation.held_out import HeldOut

USUAL = ("site", "scanner", "center", "centre", "study", "dataset", "manufacturer", "vendor", "field_strength")
"""Usual names of columns that identify the site of a scan; matched as substrings, ignoring case."""

MOST_LABELS = 12
"""Most distinct labels of a column that defines groups."""

DECADE = 10


class Group(NamedTuple):
    """Test rows with the same label of a variable or column."""

    variable: str
    label: str
    rows: Bool[np.ndarray, "n"]


def check_columns(held_out: HeldOut, by: Sequence[str]) -> None:
    """Check that the columns exist.

    Raises:
        EvidenceError: all unknown columns.
    """
    known = [*map(str, held_out.table.frame.columns)]
    problems = [
        Problem("`by`", f"no column {name!r}.{did_you_mean(name, known)} Columns: {', '.join(known)}")
        for name in by
        if name not in known
    ]
    if problems:
        raise EvidenceError(problems)


def groups(held_out: HeldOut, by: Sequence[str]) -> list[Group]:
    """Groups by the labels of categorical variables, by decades of age, and by columns that identify the site.

    Args:
        held_out: the test part.
        by: further columns of the table.
    """
    found: list[Group] = []
    used = {spec.column or name for name, spec in held_out.model.schema.specs.items()}
    for name, spec in held_out.model.schema.specs.items():
        if held_out.is_label(name):
            found += _by_label(name, [None if cell is None else str(cell) for cell in held_out.truth(name)])
        elif not spec.data_shape and _is_age(name, str(spec.model_dump().get("unit") or "")):
            found += _by_decade(name, held_out)
    missing = {"", *held_out.model.schema.cohort.missing}
    for column in map(str, held_out.table.frame.columns):
        usual = column not in used and any(word in column.lower().replace(" ", "_") for word in USUAL)
        if usual or column in by:
            cells = [None if str(cell) in missing else str(cell) for cell in held_out.table.frame[column]]
            found += _by_label(column, cells)
    return found


def _is_age(name: str, unit: str) -> bool:
    return "age" in name.lower().split("_") or unit.lower() in ("years", "year")


def _by_label(name: str, cells: Sequence[str | None]) -> list[Group]:
    labels = sorted({cell for cell in cells if cell is not None})
    if not 1 < len(labels) <= MOST_LABELS:
        return []
    return [Group(name, label, np.array([cell == label for cell in cells])) for label in labels]


def _by_decade(name: str, held_out: HeldOut) -> list[Group]:
    values = held_out.numbers(name)
    decades = np.floor(values / DECADE)
    known = np.unique(decades[np.isfinite(decades)])
    if not 1 < len(known) <= MOST_LABELS:
        return []
    return [Group(name, f"{d * DECADE:.0f} to {(d + 1) * DECADE:.0f}", decades == d) for d in known]
