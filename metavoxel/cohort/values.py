"""Convert the cells of one variable to values: locate, resolve, parse, apply its rules."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from metavoxel.cohort.table import Table
from metavoxel.cohort.volumes import UnreadableCells, load_volumes
from metavoxel.errors import CohortError, Problem, did_you_mean
from metavoxel.parts.variables.base import AbstractVariableSpec, Missing
from metavoxel.parts.variables.column import Column
from metavoxel.plugins.registry import attribute_errors

_EXAMPLES = 5
_NOT_IN_VALUES = {"weight", "column", "path", "entities"}
"""Settings that locate or weight a value but do not change it."""


class Values(NamedTuple):
    """Resolved settings and values of one variable, the cells that each rule set to missing, and a fingerprint."""

    spec: AbstractVariableSpec
    column: Column
    blanked: dict[str, list[str]]
    fingerprint: str


def located_cells(name: str, spec: AbstractVariableSpec, rows: Sequence[Mapping[str, str]], table: Table) -> list[str]:
    """Return the cell of every row; empty where it is missing.

    Raises:
        CohortError: the table lacks a column.
    """
    try:
        return [spec.locate(name, row, table.folder) for row in rows]
    except KeyError as error:
        column, known = str(error.args[0]), [str(column) for column in table.frame.columns]
        what = f"{table.source} has no column {column!r}.{did_you_mean(column, known)} Columns: {', '.join(known)}"
        if spec.column_advice:
            what += f". {spec.column_advice}"
        raise CohortError(Problem(f"variables.{name}", what)) from error


def read_values(
    name: str,
    spec: AbstractVariableSpec,
    cells: Sequence[str],
    table: Table,
    *,
    multiple: int,
    cache: Path | None,
    majority: bool = True,
) -> Values:
    """Resolve the settings and parse every cell.

    Raises:
        CohortError: cells that are incompatible or unreadable, or (``majority``) mostly set to missing by a rule.
    """
    given = [row for row, cell in enumerate(cells) if cell]
    try:
        resolved = spec.resolve([cells[row] for row in given], multiple=multiple)
    except CohortError as error:
        problems = _relocated(error.problems, name, spec, cells, table)
        raise CohortError(problems + _further_problems(error, name, spec, cells, table, multiple)) from error
    state = _state(resolved, [cells[row] for row in given], table.folder)
    fingerprint = f"{state} in rows {given}"
    if spec.lazy:
        path = None if cache is None else cache / f"{name}-{state}.npy"
        try:
            volumes = load_volumes(resolved.parse, [cells[row] for row in given], resolved.data_shape, path=path)
        except UnreadableCells as error:
            failed = {given[position]: reason for position, reason in error.reasons.items()}
            raise CohortError(_collected(failed, name, spec, cells, table)) from error
        column = Column(_mask(given, len(cells)), [cell or None for cell in cells], volumes)
        return Values(resolved, column, {}, fingerprint)

    parsed: dict[int, Tensor] = {}
    blanked: dict[str, list[str]] = defaultdict(list)
    reasons: dict[int, str] = {}
    for row in given:
        try:
            value = _parsed(name, resolved, cells[row])
        except ValueError as error:
            reasons[row] = f"{error}. Leave the cell empty, or add it to cohort.missing, if it means missing"
            continue
        if isinstance(value, Missing):
            blanked[value.rule].append(cells[row])
        else:
            parsed[row] = value
    unreadable = _collected(reasons, name, spec, cells, table)
    if majority:
        unreadable += _mostly_blanked(name, spec, blanked, len(given), table)
    if unreadable:
        raise CohortError(unreadable)
    values = torch.stack(list(parsed.values())) if parsed else torch.zeros(0, *resolved.data_shape)
    shown = [cell if row in parsed else None for row, cell in enumerate(cells)]
    return Values(resolved, Column(_mask(list(parsed), len(cells)), shown, values), dict(blanked), fingerprint)


def _parsed(name: str, spec: AbstractVariableSpec, cell: str) -> Tensor | Missing:
    """Parse a cell.

    Raises:
        ValueError: it cannot be read.
        PluginError: its type is a plugin's, which fails otherwise or returns an invalid value.
    """
    refused: ValueError
    with attribute_errors(spec, f"variables.{name}"):
        try:
            value = spec.parse(cell)
        except ValueError as error:
            refused = error
        else:
            if not isinstance(value, Missing):
                shape = tuple(value.shape)
                assert shape == spec.data_shape, f"cell {cell!r} has shape {shape}, and data_shape is {spec.data_shape}"
                assert value.isfinite().all(), f"cell {cell!r} is read as {value.tolist()}, which is not finite"
            return value
    raise refused


def _mask(rows: Sequence[int], total: int) -> Tensor:
    mask = torch.zeros(total, dtype=torch.bool)
    mask[list(rows)] = True
    return mask


def _mostly_blanked(
    name: str, spec: AbstractVariableSpec, blanked: Mapping[str, Sequence[str]], given: int, table: Table
) -> list[Problem]:
    """Report rules that set most cells to missing: the rule is then more probably wrong than the cells."""
    if 2 * sum(map(len, blanked.values())) <= given:
        return []
    problems = []
    for rule, cells in blanked.items():
        distinct = list(dict.fromkeys(cells))
        examples = ", ".join(map(repr, distinct[:_EXAMPLES])) + (", ..." if len(distinct) > _EXAMPLES else "")
        what = f"{len(cells)} of {given} cells are {rule}: {examples}. Correct the rule, the column or the unit"
        problems.append(Problem(f"variables.{name} ({table.source}, column {spec.column or name})", what))
    return problems


def _collected(
    reasons: Mapping[int, str], name: str, spec: AbstractVariableSpec, cells: Sequence[str], table: Table
) -> list[Problem]:
    """Report a problem per row, or one for many rows with the same error."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for row, reason in reasons.items():
        kinds[reason.replace(cells[row], "")].append(row)
    problems = []
    for rows in kinds.values():
        each = [_problem(row, reasons[row], name, spec, cells, table) for row in rows]
        if len(rows) > _EXAMPLES:
            column = each[0].where.removeprefix(f"{table.places[rows[0]]}, ")
            places = [table.places[row] for row in rows[:_EXAMPLES]]
            what = f"{len(rows)} cells. {each[0].what} ({', '.join(places)}, and {len(rows) - _EXAMPLES} more)"
            each = [Problem(f"{table.source}, {column}", what)]
        problems += each
    return problems


def _problem(
    row: int, reason: str, name: str, spec: AbstractVariableSpec, cells: Sequence[str], table: Table
) -> Problem:
    source = f"column {spec.column or name}" if (spec.column or name) in table.frame else f"variable {name}"
    what = reason if cells[row] in reason else f"{cells[row]!r}: {reason}"
    return Problem(f"{table.places[row]}, {source}", what)


def _relocated(
    problems: Sequence[Problem], name: str, spec: AbstractVariableSpec, cells: Sequence[str], table: Table
) -> list[Problem]:
    """Convert problems of cells to problems of the rows that hold them."""
    located = []
    for problem in problems:
        rows = [row for row, cell in enumerate(cells) if cell and cell == problem.where]
        located += [_problem(row, problem.what, name, spec, cells, table) for row in rows]
        if not rows:
            located.append(Problem(f"variables.{name}", str(problem)))
    return located


def _further_problems(
    error: CohortError, name: str, spec: AbstractVariableSpec, cells: Sequence[str], table: Table, multiple: int
) -> list[Problem]:
    """Find problems of the cells that ``resolve`` accepted, so that one run reports all."""
    refused = {problem.where for problem in error.problems}
    rest = ["" if cell in refused else cell for cell in cells]
    if rest == list(cells) or not any(rest):
        return []
    try:
        read_values(name, spec, rest, table, multiple=multiple, cache=None)
    except CohortError as further:
        return list(further.problems)
    return []


def _state(spec: AbstractVariableSpec, cells: Sequence[str], folder: Path) -> str:
    """Digest of everything the values depend on: settings, cells, and size and time of the files."""
    settings = spec.model_dump(mode="json", exclude=_NOT_IN_VALUES)
    described: list[object] = []
    for cell in cells:
        try:
            stat = os.stat(cell) if spec.lazy else None
        except OSError:
            stat = None
        if stat is None:
            described.append(cell)
        else:
            described.append([os.path.relpath(cell, folder), stat.st_size, stat.st_mtime_ns])
    return hashlib.blake2b(json.dumps([settings, described]).encode(), digest_size=16).hexdigest()
