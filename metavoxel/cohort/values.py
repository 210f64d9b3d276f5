"""Convert the cells of one variable to values: locate, resolve, parse, apply its rules."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import pandas
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from metavoxel.cohort.table import Table
from metavoxel.cohort.volumes import UnreadableCells, load_volumes, temporary_volumes
from metavoxel.errors import CohortError, Problem, did_you_mean
from metavoxel.parts.variables.base import AbstractVariableSpec, Missing
from metavoxel.parts.variables.column import AbstractVolumes, Column
from metavoxel.plugins.registry import attribute_errors
from metavoxel.schema.missing import MissingCodes
from metavoxel.storage.digests import FileDigests

_EXAMPLES = 5
_NOT_IN_VALUES = {"weight", "column", "path", "entities"}
"""Settings that locate or weight a value but do not change it."""


class Values(NamedTuple):
    """Resolved settings and values of one variable, the cells that each rule set to missing, and a fingerprint."""

    spec: AbstractVariableSpec
    column: Column
    blanked: dict[str, list[str]]
    fingerprint: str


@final
class PresentCells(Mapping[str, Sequence[str]]):
    """Columns of a table, with missing cells replaced by the empty text. A column is made when it is first read."""

    def __init__(self, frame: pandas.DataFrame, missing: MissingCodes) -> None:
        self._frame, self._missing = frame.set_axis(list(map(str, frame.columns)), axis=1), missing
        self._columns: dict[str, list[str]] = {}

    def __getitem__(self, name: str) -> Sequence[str]:
        if name not in self._columns:
            cells: list[str] = self._frame[name].tolist()
            codes = {text for text in set(cells) if text in self._missing}
            self._columns[name] = ["" if text in codes else text for text in cells] if codes else cells
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._frame.columns)

    def __len__(self) -> int:
        return len(self._frame.columns)


def located_cells(
    name: str, spec: AbstractVariableSpec, columns: Mapping[str, Sequence[str]], table: Table
) -> Sequence[str]:
    """Return the cell of every row; empty where it is missing.

    Raises:
        CohortError: the table lacks a column.
    """
    try:
        return spec.locate_all(name, columns, len(table.frame), table.folder)
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
    check: bool = False,
) -> Values:
    """Resolve the settings and parse every cell; see ``read_cohort`` for ``cache`` and ``check``.

    Raises:
        CohortError: cells that are incompatible or unreadable, or (``majority``) mostly set to missing by a rule.
    """
    given = [row for row, cell in enumerate(cells) if cell]
    try:
        resolved = spec.resolve([cells[row] for row in given], multiple=multiple)
    except CohortError as error:
        problems = _relocated(error.problems, name, spec, cells, table)
        raise CohortError(problems + _further_problems(error, name, spec, cells, table, multiple)) from error
    if check:
        state = ""
    else:
        with FileDigests(cache / "digests.json" if cache is not None and resolved.lazy else None) as digests:
            state = _state(resolved, [cells[row] for row in given], digests)
    mask = _mask(given, len(cells))
    fingerprint = f"{state} in rows {hashlib.blake2b(np.packbits(mask.numpy()).tobytes(), digest_size=16).hexdigest()}"
    if spec.lazy:
        files, shape = [cells[row] for row in given], resolved.data_shape
        volumes: AbstractVolumes
        try:
            if cache is not None:
                volumes = load_volumes(resolved.parse, files, shape, path=cache / f"{name}-{state}")
            else:
                volumes = temporary_volumes(resolved.parse, files, shape, known=_settings(resolved) if check else None)
        except UnreadableCells as error:
            failed = {given[position]: reason for position, reason in error.reasons.items()}
            raise CohortError(_collected(failed, name, spec, cells, table)) from error
        return Values(resolved, Column(mask, [cell or None for cell in cells], volumes), {}, fingerprint)

    parsed = _parsed_cells(name, resolved, [cells[row] for row in given])
    reasons = {given[place]: reason for place, reason in parsed.reasons.items()}
    unreadable = _collected(reasons, name, spec, cells, table)
    if majority:
        unreadable += _mostly_blanked(name, spec, parsed.blanked, len(given), table)
    if unreadable:
        raise CohortError(unreadable)
    mask[mask.clone()] = parsed.read
    shown = [cell if known else None for cell, known in zip(cells, mask.tolist(), strict=True)]
    return Values(resolved, Column(mask, shown, parsed.values), parsed.blanked, fingerprint)


class _ParsedCells(NamedTuple):
    """Which cells have a value, these values in order, cells by the rule that made them missing, and other reasons."""

    read: Bool[Tensor, "n"]
    values: Shaped[Tensor, "m *d"]
    blanked: dict[str, list[str]]
    reasons: dict[int, str]


def _parsed_cells(name: str, spec: AbstractVariableSpec, cells: Sequence[str]) -> _ParsedCells:
    """Parse cells, each distinct text once: many at a time where their type can, the others one by one.

    Raises:
        PluginError: the type is a plugin's, which fails otherwise or returns an invalid value.
    """
    index, found_texts = pandas.factorize(np.array(cells, dtype=object))
    texts = [str(text) for text in found_texts]
    fast = spec.parse_many(texts)
    outcomes: dict[int, Tensor | Missing | str] = {}
    for place in range(len(texts)) if fast is None else (~fast.read).nonzero()[:, 0].tolist():
        try:
            outcomes[place] = _parsed(name, spec, texts[place])
        except ValueError as error:
            outcomes[place] = f"{error}. Leave the cell empty, or add it to cohort.missing, if it means missing"
    found = {place: value for place, value in outcomes.items() if isinstance(value, Tensor)}
    if fast is not None:
        values, read = fast.values.clone(), fast.read.clone()
    else:
        like = next(iter(found.values()), torch.zeros(spec.data_shape))
        values, read = like.new_zeros(len(texts), *spec.data_shape), torch.zeros(len(texts), dtype=torch.bool)
    if found:
        places = torch.tensor(list(found))
        values[places], read[places] = torch.stack(list(found.values())).to(values.dtype), True
    places = torch.from_numpy(index)
    blanked: dict[str, list[str]] = defaultdict(list)
    reasons: dict[int, str] = {}
    refused = {place: value for place, value in outcomes.items() if not isinstance(value, Tensor)}
    if refused:
        for row in np.isin(index, list(refused)).nonzero()[0].tolist():
            value = refused[int(index[row])]
            if isinstance(value, Missing):
                blanked[value.rule].append(cells[row])
            else:
                reasons[row] = value
    rows = read[places]
    return _ParsedCells(rows, values[places[rows]], dict(blanked), reasons)


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
    mask[torch.tensor(rows, dtype=torch.int64)] = True
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


def _state(spec: AbstractVariableSpec, cells: Sequence[str], digests: FileDigests) -> str:
    """Digest of everything the values depend on: settings, cells, and the contents of files."""
    described = [(digests.of(cell) or cell) if spec.lazy else cell for cell in cells]
    content = f"[{_settings(spec)}, {json.dumps(described)}]"
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _settings(spec: AbstractVariableSpec) -> str:
    """Return the settings that values depend on, as JSON."""
    return json.dumps(spec.model_dump(mode="json", exclude=_NOT_IN_VALUES))
