"""Read a cohort from a table or BIDS folder, and report all problems together."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.common_space import with_common_grids
from metavoxel.cohort.source import read_cohort_table
from metavoxel.cohort.split import PARTS, draw_split, read_split
from metavoxel.cohort.table import RowsOfSubjects, Table
from metavoxel.cohort.values import PresentCells, Values, located_cells, read_values
from metavoxel.cohort.visit import SESSION
from metavoxel.errors import CohortError, Problem, did_you_mean
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.text import composed
from metavoxel.schema.missing import MissingCodes
from metavoxel.schema.settings import CohortSettings


def read_cohort(
    variables: Mapping[str, AbstractVariableSpec],
    settings: CohortSettings,
    *,
    folder: Path,
    multiples: Mapping[str, int] | None = None,
    cache: Path | None = None,
    split: bool = True,
    parts: Mapping[str, Sequence[str]] | None = None,
    check: bool = False,
) -> Cohort:
    """Read all values of a cohort, images included, and split its subjects.

    Args:
        variables: settings by name; values already resolved (an image's shape) are kept.
        settings: location of the table or folder, missing codes and split.
        folder: base of relative paths in ``settings``: the schema's folder.
        multiples: for each variable, the divisor of its data axes; 1 by default.
        cache: folder that keeps preprocessed images between runs; a temporary file by default.
        split: whether to split the subjects; False for a table to predict from. Rows and variables may then be empty,
            and a rule may set most cells of a column to missing, because the result for a cell must not depend on the
            other rows.
        parts: keys of the rows of each part, as recorded by another run, instead of a split by ``settings``.
        check: whether the cohort is only checked, without a ``cache``: image files that an earlier check has read with
            the same settings are read again only if they have changed, and the fingerprint is of no use.

    Raises:
        CohortError: all problems of the table, its cells, its images and its split.
    """
    table = read_cohort_table(settings, variables, folder)
    return build_cohort(
        table, variables, settings, multiples=multiples, cache=cache, split=split, parts=parts, check=check
    )


def build_cohort(
    table: Table,
    variables: Mapping[str, AbstractVariableSpec],
    settings: CohortSettings,
    *,
    multiples: Mapping[str, int] | None = None,
    cache: Path | None = None,
    split: bool = True,
    parts: Mapping[str, Sequence[str]] | None = None,
    check: bool = False,
) -> Cohort:
    """Build the cohort of a table that has been read; see :func:`read_cohort`.

    Raises:
        CohortError: all problems of the table's cells, its images and its split.
    """
    subjects = _subjects(table, settings)
    columns = PresentCells(table.frame, MissingCodes(settings.missing))
    places = RowsOfSubjects(table.places, subjects)
    table = replace(table, places=places)

    problems: list[Problem] = []
    values: dict[str, Values] = {}
    located: dict[str, Sequence[str]] = {}
    for name, spec in variables.items():
        try:
            located[name] = located_cells(name, spec, columns, table)
        except CohortError as error:
            problems += error.problems
    del columns  # as much memory as the table; each column is dropped once its values are read
    shared = with_common_grids(variables, located, multiples or {})
    for name in list(located):
        spec, cells = shared[name], located.pop(name)
        try:
            if spec.lazy:
                problems += _repeated(name, cells, subjects, places)
            multiple = (multiples or {}).get(name, 1)
            values[name] = read_values(
                name, spec, cells, table, multiple=multiple, cache=cache, majority=split, check=check
            )
        except CohortError as error:
            problems += error.problems
    if split:
        problems += [
            Problem(f"variables.{name}", "no row of the cohort has a value")
            for name, found in values.items()
            if not found.column.present.any()
        ]
    assigned: dict[str, Tensor] = {}
    keys: list[str] = []
    if len(values) == len(variables):
        keys = row_keys(table, subjects)
    usable = torch.stack([found.column.present for found in values.values()] or [torch.zeros(len(table.frame))]).any(0)
    if split and values and not usable.any():
        problems = [Problem(table.source, "no usable rows: every variable is missing in every row"), *problems]
    elif split and len(values) == len(variables):
        try:
            if parts is None:
                assigned = _parts(table, subjects, usable, values, settings)
            else:
                assigned = _recorded_parts(table, keys, usable, parts)
            problems += _empty_in_training(values, assigned)
        except CohortError as error:
            problems += error.problems
    if problems:
        raise CohortError(problems)
    return Cohort(
        frame=table.frame,
        subjects=subjects,
        row_keys=keys,
        places=places,
        variables={name: found.spec for name, found in values.items()},
        columns={name: found.column for name, found in values.items()},
        parts=assigned,
        blanked={name: found.blanked for name, found in values.items()},
        fingerprint=_fingerprint(subjects, values, assigned),
        notices=table.notices,
    )


def _subjects(table: Table, settings: CohortSettings) -> list[str]:
    if settings.subject not in table.frame:
        known = [str(column) for column in table.frame.columns]
        what = (
            f"no column {settings.subject!r} to name the subjects; columns: {', '.join(known)}."
            f"{did_you_mean(settings.subject, known)} Name it so, or set cohort.subject"
        )
        raise CohortError(Problem(table.source, what))
    subjects = [composed(str(subject)) for subject in table.frame[settings.subject]]
    missing = MissingCodes(settings.missing, numbers=False)
    problems = [
        Problem(f"{table.places[row]}, column {settings.subject}", f"{subject!r}: every row must name its subject")
        for row, subject in enumerate(subjects)
        if subject in missing
    ]
    if problems:
        raise CohortError(problems)
    return subjects


def _repeated(name: str, cells: Sequence[str], subjects: Sequence[str], places: Sequence[str]) -> list[Problem]:
    """Report rows of the same subject with the same file."""
    first: dict[tuple[str, str], int] = {}
    problems = []
    for row, (subject, cell) in enumerate(zip(subjects, cells, strict=True)):
        if cell and (earlier := first.setdefault((subject, cell), row)) != row:
            what = f"{cell!r} is also the file of {places[earlier]}; remove one"
            problems.append(Problem(f"{places[row]}, variable {name}", what))
    return problems


def _parts(
    table: Table, subjects: Sequence[str], usable: Tensor, values: Mapping[str, Values], settings: CohortSettings
) -> dict[str, Tensor]:
    index = usable.nonzero()[:, 0]
    usable_subjects = [subjects[row] for row in index.tolist()]
    if settings.split.column is not None:
        if settings.split.column not in table.frame:
            known = [str(column) for column in table.frame.columns]
            what = (
                f"{table.source} has no column {settings.split.column!r}.{did_you_mean(settings.split.column, known)}"
            )
            raise CohortError(Problem("cohort.split.column", f"{what} Columns: {', '.join(known)}"))
        cells = [str(cell) for cell in table.frame[settings.split.column].iloc[index.tolist()]]
        places = [table.places[row] for row in index.tolist()]
        parts = read_split(usable_subjects, cells, places, settings.split)
    else:
        strata = {name: _stratum(name, values, index) for name in settings.split.stratify}
        parts = draw_split(usable_subjects, strata, settings.split)
    return {part: index[torch.tensor([found == part for found in parts])] for part in PARTS}


def _recorded_parts(
    table: Table, keys: Sequence[str], usable: Tensor, parts: Mapping[str, Sequence[str]]
) -> dict[str, Tensor]:
    place = {key: row for row, key in enumerate(keys)}
    absent = sorted(key for part in PARTS for key in parts.get(part, ()) if key not in place)
    if absent:
        what = f"has no row {absent[0]!r}, which the run's split names ({len(absent)} such rows); it has changed"
        raise CohortError(Problem(table.source, what))
    rows = {part: sorted(place[key] for key in parts.get(part, ())) for part in PARTS}
    return {
        part: torch.tensor([row for row in found if usable[row]], dtype=torch.int64) for part, found in rows.items()
    }


def _stratum(name: str, values: Mapping[str, Values], index: Tensor) -> list[str | float | None]:
    """Values of a variable in these rows as formatted for a table; None where missing."""
    if name not in values or values[name].spec.lazy:
        known = [other for other, found in values.items() if not found.spec.lazy]
        what = f"{name!r} is not a variable with labels or numbers; those are {', '.join(known)}."
        raise CohortError(Problem("cohort.split.stratify", what + did_you_mean(name, known)))
    column = values[name].column
    present = column.present[index]
    found = iter(column.read(index[present]))
    shown: list[str | float | None] = []
    for known in present.tolist():
        value = values[name].spec.format(next(found)) if known else None
        shown.append(float(value) if isinstance(value, int | float) else None if value is None else str(value))
    return shown


def _empty_in_training(values: Mapping[str, Values], parts: Mapping[str, Tensor]) -> list[Problem]:
    return [
        Problem(f"variables.{name}", "no row of the training part has a value; change cohort.split, or leave it out")
        for name, found in values.items()
        if found.column.present.any() and not found.column.present[parts["train"]].any()
    ]


def row_keys(table: Table, subjects: Sequence[str]) -> list[str]:
    """Unique keys of the rows: the subject and, where it has several rows, its session if the table has that column.

    Further rows of the same subject (and session) are numbered in order of appearance: ``p1``, ``p1#2``. Keys depend on
    no other cell, so that the draws of a row do not change when a column is added or a value corrected.
    """
    if len(set(subjects)) == len(subjects):
        return list(subjects)
    several = {subject for subject, count in Counter(subjects).items() if count > 1}
    sessions = [str(session) for session in table.frame[SESSION]] if SESSION in table.frame else [""] * len(subjects)
    keys = [
        f"{subject}/{session}" if session and subject in several else subject
        for subject, session in zip(subjects, sessions, strict=True)
    ]
    copies: dict[str, int] = defaultdict(int)
    for row, key in enumerate(keys):
        copies[key] += 1
        if copies[key] > 1:
            keys[row] = f"{key}#{copies[key]}"
    return keys


def _fingerprint(subjects: Sequence[str], values: Mapping[str, Values], parts: Mapping[str, Tensor]) -> str:
    content = [
        list(subjects),
        {name: found.fingerprint for name, found in values.items()},
        {part: rows.tolist() for part, rows in parts.items()},
    ]
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
