"""Evidence from user input: single values, values with a measurement error, and tables."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import pandas
import torch
from jaxtyping import Bool
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import build_cohort
from metavoxel.cohort.table import Table
from metavoxel.errors import CohortWarning, EvidenceError, Problem
from metavoxel.inference.in_memory import given_value
from metavoxel.inference.question import misspelt_columns
from metavoxel.inference.summaries import category_labels
from metavoxel.inference.tables import frame_table
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.variables.base import Missing
from metavoxel.plugins.registry import attribute_errors
from metavoxel.sampling.evidence import Evidence
from metavoxel.schema.missing import MissingCodes
from metavoxel.schema.schema import Schema

FARTHEST = 1e12
"""Largest absolute code that is accepted: its square must not overflow in single precision."""

ENCODED_IMAGES, ENCODED_VALUES = 16, 4096
"""Rows that are encoded at once."""

_WORST = 3
"""Number of cells that a warning lists."""

_MEASURED = re.compile(r"\s*(?P<value>.+?)\s*(?:±|\+/?-)\s*(?P<sd>.*?)\s*", re.DOTALL)


class Value(NamedTuple):
    """A value (*D) in the variable's unit, and the standard deviation of its error; None for an exact value."""

    value: Tensor
    sd: float | None = None


@final
class EvidenceReader:
    """Reader of cells, tensors and tables by a model's schema, which encodes them."""

    def __init__(self, schema: Schema, codecs: Mapping[str, AbstractCodec], device: torch.device) -> None:
        self._schema, self._codecs, self._device = schema, codecs, device
        self._missing = MissingCodes(schema.cohort.missing)

    def value_of(self, name: str, cell: object) -> Tensor:
        """Parse a single value (*D): a number, label or path, also as text, or an image in memory.

        Tensors, and arrays on the model's grid, are values as they are.

        A text that is a label of a category, and the table's code of another, is taken as the label.

        Raises:
            EvidenceError: it cannot be read, or a rule of the schema makes it missing.
        """
        cell = given_value(name, self._schema.variables[name].spec, cell)
        if isinstance(cell, Tensor):
            return cell
        try:
            value = self._schema.variables[name].spec.parse_given(str(cell).strip())
        except (ValueError, OSError) as error:
            raise EvidenceError(Problem(f"given {name}={cell}", str(error))) from None
        if isinstance(value, Missing):
            raise EvidenceError(Problem(f"given {name}={cell}", value.rule))
        if str(cell).strip() in self._missing:
            what = "is a code for 'missing' by cohort.missing: omit it"
            raise EvidenceError(Problem(f"given {name}={cell}", what))
        return value

    def is_measured(self, name: str, cell: object) -> bool:
        """Return whether a cell is a number with a measurement error, ``30±2`` or ``30+-2``."""
        return self._takes_errors(name) and isinstance(cell, str) and _MEASURED.fullmatch(cell) is not None

    def is_uncertain(self, name: str, cell: object) -> bool:
        """Return whether a cell leaves its variable to be drawn: a measurement with error, or a value with gaps."""
        if self.is_measured(name, cell) or self._schema.variables[name].spec.lazy:
            return self.is_measured(name, cell)
        try:
            value = self.value_of(name, cell)
            return not bool(self._codecs[name].known_cells(value[None].to(self._device)).all())
        except EvidenceError:  # reported when the value is read
            return False

    def known(self, given: Mapping[str, object], voxels: Mapping[str, Tensor] = {}) -> dict[str, Value]:
        """Parse all given values, collecting all problems.

        ``voxels`` marks the known voxels (*D) of an image given in part; the values of the others are ignored.

        Raises:
            EvidenceError: values that are impossible, cannot be read, or have an error where none is supported.
        """
        found: dict[str, Value] = {}
        problems: list[Problem] = []
        for name, cell in given.items():
            try:
                cell = given_value(name, self._schema.variables[name].spec, cell)
                found[name] = self._measured(name, cell)
                if isinstance(cell, Tensor):
                    self._check_tensor(name, cell, voxels.get(name))
                elif not self._schema.variables[name].spec.lazy:
                    code = self.given(name, found[name].value[None]).code
                    if _is_far(code)[0]:
                        raise EvidenceError(Problem(f"given {name}={cell}", _far(code)))
            except EvidenceError as error:
                problems += error.problems
        if problems:
            raise EvidenceError(problems)
        return found

    def _check_tensor(self, name: str, value: Tensor, known: Tensor | None) -> None:
        """Check a tensor as a cell is checked.

        Raises:
            EvidenceError: wrong shape, non-finite numbers, unknown class, or a rule of the schema makes it missing.
        """
        spec, codec = self._schema.variables[name].spec, self._codecs[name]
        if value.shape != spec.data_shape:
            what = f"must have shape {spec.data_shape}, not {tuple(value.shape)}"
            raise EvidenceError(Problem(f"given {name}", what))
        if spec.lazy:  # an image: its cell is a description, which cannot be parsed
            wrong = ~value.isfinite() if known is None else ~value.isfinite() & known
            if wrong.any():
                what = f"{int(wrong.sum())} of {wrong.numel()} voxels are NaN or infinite"
                raise EvidenceError(Problem(f"given {name}", what))
        elif codec.is_label and not spec.data_shape and float(value) not in range(codec.code_shape[0]):
            labels = ", ".join(f"{label} ({index})" for index, label in enumerate(category_labels(spec, codec)))
            what = f"unknown category (known, by their index in a tensor: {labels})"
            raise EvidenceError(Problem(f"given {name}={float(value):g}", what))
        else:
            self.value_of(name, spec.format(value))

    def _takes_errors(self, name: str) -> bool:
        codec = self._codecs[name]
        return codec.is_numeric and codec.code_shape == (1,) and not self._schema.variables[name].spec.data_shape

    def _measured(self, name: str, cell: object) -> Value:
        parts = _MEASURED.fullmatch(cell) if isinstance(cell, str) else None
        if parts is None:
            return Value(self.value_of(name, cell))
        if not self._takes_errors(name):
            try:
                return Value(self.value_of(name, cell))  # a label or a path may contain ±
            except EvidenceError as error:
                numbers = ", ".join(other for other in self._schema.variables if self._takes_errors(other)) or "none"
                what = f"{error.problems[0].what}. Only numbers may have an error (±): {numbers}"
                raise EvidenceError(Problem(f"given {name}={cell}", what)) from None
        value = self.value_of(name, parts["value"])
        try:
            sd = float(parts["sd"])
        except ValueError:
            sd = math.nan
        if not (math.isfinite(sd) and sd >= 0):
            what = f"the error {parts['sd']!r} must be a number in the variable's unit, at least 0: age=30±2"
            raise EvidenceError(Problem(f"given {name}={cell}", what))
        return Value(value, sd or None)

    @torch.inference_mode()
    def given(self, name: str, values: Tensor, known: Tensor | None = None, *, sd: float | None = None) -> Evidence:
        """Encode a batch of values (b, *D); ``known`` marks known voxels, ``sd`` is the error in the value's unit."""
        codec = self._codecs[name]
        values = values.to(self._device)
        with attribute_errors(self._schema.variables[name].parts.codec, f"given {name}"):
            if known is not None:
                encoded, trusted = codec.encode_partial(values, known.to(self._device))
                return Evidence(encoded.mean, trusted)
            code, cells = codec.encode(values).mean, codec.known_cells(values)
        return Evidence(code, cells, None if sd is None else float(codec.code_sd(values[:1], sd)))

    def read(
        self, table: Table | pandas.DataFrame, variables: Sequence[str], *, folder: Path | str | None = None
    ) -> Cohort:
        """Read some variables of a table of new rows; missing cells stay missing.

        Raises:
            CohortError: all problems of the table.
        """
        if isinstance(table, pandas.DataFrame):
            table = frame_table(table, folder=folder)
        specs = {name: self._schema.variables[name].spec for name in variables}
        return build_cohort(table, specs, self._schema.cohort, split=False)

    def evidence_of(self, cohort: Cohort, names: Sequence[str]) -> dict[str, Evidence]:
        """Encode all rows of a cohort; missing cells are unknown.

        Raises:
            EvidenceError: all cells with codes beyond ``FARTHEST``.
        """
        evidence, problems = {}, []
        for name in names:
            column, codec = cohort.columns[name], self._codecs[name]
            code = codec.blank(len(cohort), self._device)
            known = torch.zeros(len(cohort), 1, *codec.code_shape[1:], dtype=torch.bool, device=self._device)
            size = ENCODED_IMAGES if self._schema.variables[name].spec.lazy else ENCODED_VALUES
            present = column.present.nonzero()[:, 0]
            for rows in present.split(size) if len(present) else ():
                entry = self.given(name, column.read(rows))
                code[rows], known[rows] = entry.code, entry.known
            evidence[name] = Evidence(code, known)
            if not cohort.variables[name].lazy and column.rows:
                for what in self._codecs[name].evidence_warnings(column.read(column.rows)):
                    warnings.warn(f"{name}: {what}", CohortWarning, stacklevel=3)
            for row in _is_far(code).nonzero()[:, 0].tolist():
                where = f"{cohort.places[row]}, variable {name}"
                problems.append(Problem(where, f"{column.cells[row]!r} {_far(code[row])}"))
        if problems:
            raise EvidenceError(problems)
        return evidence


def warn_of_blanked(cohort: Cohort, names: Sequence[str]) -> None:
    """Warn of cells that a rule of the schema makes missing, by variable (in this order) and rule."""
    for name in names:
        for rule, cells in cohort.blanked.get(name, {}).items():
            shown = ", ".join(dict.fromkeys(cells[:_WORST])) + (", ..." if len(cells) > _WORST else "")
            what = f"{name}: {len(cells)} taken as missing ({rule}): {shown}"
            warnings.warn(what, CohortWarning, stacklevel=3)


def warn_of_misspelt(schema: Schema, columns: Sequence[str], targets: Sequence[str]) -> None:
    """Warn of unused columns with nearly the name of a variable's missing column."""
    for what in misspelt_columns(schema, columns, targets):
        warnings.warn(what, CohortWarning, stacklevel=3)


def _is_far(code: Tensor) -> Bool[Tensor, "b"]:
    """Return the rows whose codes (b, ...) are not finite or beyond ``FARTHEST``."""
    return ~(code.flatten(1).abs().amax(1) <= FARTHEST)


def _far(code: Tensor) -> str:
    return f"is {float(code.abs().max()):.2g} in code units, too large to compute with: is it a code for 'missing'?"
