"""Rows of numbers and labels, real and generated, as arrays for comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import pandas
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import linear_sum_assignment

from metavoxel.cohort.cohort import Cohort
from metavoxel.evaluation.held_out import cells
from metavoxel.evaluation.metrics.bootstrap import clusters
from metavoxel.inference.model import Model

MOST_DECIMALS = 6
"""Numbers with this many decimals or more are treated as continuous."""


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of scalars.

    Attributes:
        values: one column per variable: a number, or the index of a label; NaN where missing.
        names: names of the variables.
        classes: labels of each categorical variable.
        subjects: subject of each row; every generated row is its own subject.
    """

    values: Float64[np.ndarray, "n v"]
    names: Sequence[str]
    classes: Mapping[str, Sequence[str]]
    subjects: Sequence[str]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def owners(self) -> Int64[np.ndarray, "n"]:
        """Integer id of each row's subject."""
        return clusters(self.subjects)

    @property
    def known(self) -> Bool[np.ndarray, "n v"]:
        """Mask of the cells that are not missing."""
        return np.isfinite(self.values)

    def take(self, rows: Int64[np.ndarray, "m"]) -> "Rows":
        """Select rows by index."""
        return replace(self, values=self.values[rows], subjects=[self.subjects[row] for row in rows.tolist()])

    def encoded(self) -> tuple[Float64[np.ndarray, "n f"], Int64[np.ndarray, "f"]]:
        """Features (numbers and class indicators) of the rows, and the index of each feature's variable.

        A categorical variable of two classes has one indicator, others have one per class.
        """
        features: list[np.ndarray] = []
        owners: list[int] = []
        for place, name in enumerate(self.names):
            values = self.values[:, place]
            if name not in self.classes:
                features.append(values)
            else:
                count = len(self.classes[name])
                shown = range(1, 2) if count == 2 else range(count)
                features += [np.where(np.isfinite(values), values == k, np.nan) for k in shown]
            owners += [place] * (len(features) - len(owners))
        return np.stack(features, 1).astype(np.float64), np.array(owners, np.int64)


def scalars(model: Model) -> list[str]:
    """Variables of the schema that are a number or a label."""
    return [name for name, spec in model.schema.specs.items() if not (spec.spatial or spec.data_shape)]


def real_rows(model: Model, cohort: Cohort) -> Rows:
    """Rows of a cohort with at least one value."""
    names = scalars(model)
    table = pandas.DataFrame({name: cells(cohort, name) for name in names}, dtype=object)
    found = _rows(model, names, table, cohort.subjects)
    return found.take(np.flatnonzero(found.known.any(1)))


def drawn_rows(model: Model, table: pandas.DataFrame) -> Rows:
    """Generated rows, from the columns written by ``metavoxel sample``."""
    return _rows(model, scalars(model), table, [f"draw {row}" for row in range(len(table))])


def _rows(model: Model, names: Sequence[str], table: pandas.DataFrame, subjects: Sequence[str]) -> Rows:
    classes = {name: model.labels[name] for name in names if name in model.labels}
    columns = []
    for name in names:
        if name in classes:
            places = {label: place for place, label in enumerate(classes[name])}
            columns.append([np.nan if cell is None else places[str(cell)] for cell in table[name]])
        else:
            columns.append([np.nan if cell is None else float(str(cell)) for cell in table[name]])
    values = np.array(columns, np.float64).T.reshape(len(table), len(names))
    return Rows(values, names, classes, list(subjects))


def as_recorded(drawn: Rows, *real: Rows) -> Rows:
    """Round generated numbers to the decimals of the real ones, such as ages in whole years.

    Otherwise a classifier would separate a generated 34.21 from a recorded 34 by its decimals alone.
    """
    values = drawn.values.copy()
    for place, name in enumerate(drawn.names):
        if name not in drawn.classes:
            found = np.concatenate([rows.values[:, place] for rows in real])
            decimals = _decimals(found[np.isfinite(found)])
            if decimals is not None:
                values[:, place] = np.round(values[:, place], decimals)
    return replace(drawn, values=values)


def _decimals(values: Float64[np.ndarray, "n"]) -> int | None:
    for decimals in range(MOST_DECIMALS):
        if np.allclose(np.round(values, decimals), values, rtol=0, atol=1e-9):
            return decimals
    return None


def with_gaps(drawn: Rows, real: Rows) -> Rows:
    """Give generated rows the missing cells of as many real rows, matched one to one.

    The real rows must differ from those that the generated rows are then compared with: the same pattern of missing
    cells in both samples would mislead a classifier.

    The matching minimises the total distance over columns without missing cells, so that missingness depends on these
    columns as in the real rows. Without such columns, rows are matched in order.
    """
    gaps = ~real.known
    if not gaps.any():
        return drawn
    complete = ~gaps.any(0)
    order = np.arange(len(real))
    if complete.any():
        apart = np.zeros((len(drawn), len(real)))
        for place in np.flatnonzero(complete).tolist():
            a, b = drawn.values[:, place, None], real.values[None, :, place]
            scale = np.ptp(real.values[:, place])
            if drawn.names[place] in drawn.classes:
                apart += a != b
            elif scale > 0:
                apart += np.minimum(np.abs(a - b) / scale, 1)
        order = linear_sum_assignment(apart)[1]
    return replace(drawn, values=np.where(gaps[order], np.nan, drawn.values))
