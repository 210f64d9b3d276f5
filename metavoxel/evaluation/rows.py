"""Rows of numbers and labels: real ones and generated ones, as arrays that can be compared."""

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
"""Numbers with more decimals than this are taken for continuous."""


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of scalars.

    Attributes:
        values: one column a variable: a number, or the place of a label; NaN where it is missing.
        names: of the variables.
        classes: labels of each category; of other variables nothing.
        subjects: of the rows; generated rows are a subject each.
    """

    values: Float64[np.ndarray, "n v"]
    names: Sequence[str]
    classes: Mapping[str, Sequence[str]]
    subjects: Sequence[str]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def owners(self) -> Int64[np.ndarray, "n"]:
        """A number for each row that rows of its subject share."""
        return clusters(self.subjects)

    @property
    def known(self) -> Bool[np.ndarray, "n v"]:
        """Cells that are not missing."""
        return np.isfinite(self.values)

    def take(self, rows: Int64[np.ndarray, "m"]) -> "Rows":
        """Some of the rows."""
        return replace(self, values=self.values[rows], subjects=[self.subjects[row] for row in rows.tolist()])

    def encoded(self) -> tuple[Float64[np.ndarray, "n f"], Int64[np.ndarray, "f"]]:
        """Features of the rows, and the variable that each belongs to: numbers, and indicators of classes.

        One indicator for a category of two classes, and one a class otherwise.
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
    """The rows of a cohort that have any value at all."""
    names = scalars(model)
    table = pandas.DataFrame({name: cells(cohort, name) for name in names}, dtype=object)
    found = _rows(model, names, table, cohort.subjects)
    return found.take(np.flatnonzero(found.known.any(1)))


def drawn_rows(model: Model, table: pandas.DataFrame) -> Rows:
    """Generated rows, from the columns that ``metavoxel sample`` writes."""
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
    """The same numbers with the decimals that the real ones have: ages in whole years, say.

    Without it any classifier tells a generated 34.21 from a recorded 34, which nobody wants to know.
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
    """Generated rows that lack what real rows lack: each takes the gaps of one of as many real rows.

    The real rows must be others than those that the generated ones are then compared with: two rows of one pattern of
    gaps, one in each sample, mislead a classifier.

    Which one is a matching of least distance over the columns without gaps, so that cells that are missing more often
    in some rows than in others are so here as well. Without such columns it is the order of the rows.
    """
    gaps = ~real.known
    if not gaps.any():
        return drawn
    whole = ~gaps.any(0)
    order = np.arange(len(real))
    if whole.any():
        apart = np.zeros((len(drawn), len(real)))
        for place in np.flatnonzero(whole).tolist():
            a, b = drawn.values[:, place, None], real.values[None, :, place]
            scale = np.ptp(real.values[:, place])
            if drawn.names[place] in drawn.classes:
                apart += a != b
            elif scale > 0:
                apart += np.minimum(np.abs(a - b) / scale, 1)
        order = linear_sum_assignment(apart)[1]
    return replace(drawn, values=np.where(gaps[order], np.nan, drawn.values))
