"""Held-out rows of a run's test part, and their true values."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import pandas
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.table import Table
from metavoxel.errors import Problem, RunError
from metavoxel.inference.model import Model
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.runs.part import part_table, subject_table
from metavoxel.runs.run import RunFolder


@final
@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows of the test part.

    Attributes:
        model: the evaluated model.
        folder: its run folder.
        table: the rows as read, including columns that are not variables.
        cohort: values of all variables in these rows.
    """

    model: Model
    folder: RunFolder
    table: Table
    cohort: Cohort

    def __len__(self) -> int:
        return len(self.cohort)

    @property
    def subjects(self) -> list[str]:
        """Subject of each row."""
        return self.cohort.subjects

    def spec(self, name: str) -> AbstractVariableSpec:
        """Settings of a variable."""
        return self.model.schema.variables[name].spec

    def is_label(self, name: str) -> bool:
        """Whether a variable is categorical."""
        return name in self.model.labels

    def present(self, name: str) -> Bool[np.ndarray, "n"]:
        """Mask of the rows with a true value."""
        return self.cohort.columns[name].present.numpy()

    def rows(self, name: str) -> list[int]:
        """Indices of the rows with a true value."""
        return np.flatnonzero(self.present(name)).tolist()

    def scans(self, name: str) -> Iterator[Float[Tensor, "1 *s"]]:
        """Images of a variable, one at a time."""
        column = self.cohort.columns[name]
        for row in self.rows(name):
            yield column.read([row])[0]

    def numbers(self, name: str) -> Float64[np.ndarray, "n"]:
        """True values of a number; NaN where missing."""
        return np.array([np.nan if cell is None else float(str(cell)) for cell in self.truth(name)])

    def truth(self, name: str) -> list[object]:
        """True values as formatted in a table; None where missing."""
        return cells(self.cohort, name)

    def from_centre(
        self, name: str, truth: Float64[np.ndarray, "n"], draws: Float64[np.ndarray, "n k"]
    ) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n k"]]:
        """Differences of true values and draws of a number from the centre of each row's draws.

        Ranks and distances are unchanged; for periodic numbers, such as angles, they are those along the circle.
        """
        if not draws.shape[1]:
            return truth, draws
        spec, values = self.spec(name), torch.from_numpy(draws.T.copy())
        centre = spec.center(values, "mean")
        found = torch.cat([torch.from_numpy(truth)[None], values])
        apart = spec.differences(found, centre).numpy()
        return apart[0], np.ascontiguousarray(apart[1:].T)

    def inside(self, name: str) -> Bool[Tensor, "1 *s"]:
        """Mask of the voxels that are not padding, from the first file of the part."""
        spec, cells = self.spec(name), [cell for cell in self.cohort.columns[name].cells if cell is not None]
        return spec.inside(str(cells[0])) if cells else torch.ones(spec.data_shape, dtype=torch.bool)

    @cached_property
    def images(self) -> list[str]:
        """Variables of the schema with intensities on a grid."""
        return [name for name, spec in self.model.schema.specs.items() if spec.spatial and name not in self.label_maps]

    @cached_property
    def label_maps(self) -> list[str]:
        """Variables of the schema with a label at each voxel."""
        return [name for name, spec in self.model.schema.specs.items() if spec.voxel_labels]


def cells(cohort: Cohort, name: str) -> list[object]:
    """Values of a variable as formatted in a table; None where missing."""
    column, spec = cohort.columns[name], cohort.variables[name]
    rows = np.flatnonzero(column.present.numpy())
    found: list[object] = [None] * len(cohort)
    for row, value in zip(rows, column.read(rows.tolist()), strict=True):
        found[row] = spec.format(value)
    return found


def held_out(model: Model, folder: RunFolder) -> HeldOut:
    """Read the test part of a run. Values and images of other subjects are not read.

    Raises:
        RunError: the run's split has no test part, or the cohort has changed.
        CohortError: all problems of the rows.
    """
    split = folder.read_record().get("split", {})
    if not split.get("test"):
        shown = ", ".join(f"{part} {len(rows)}" for part, rows in split.items())
        what = f"the run has no test part ({shown} rows), so no subjects to evaluate it on: set cohort.split.test"
        raise RunError(Problem(str(folder.record), f"{what} (or a 'test' in cohort.split.column), and train again"))
    table = part_table(model, folder, "test")
    return HeldOut(model, folder, table, model.read(table, model.names))


def training_values(model: Model, folder: RunFolder, name: str) -> pandas.Series:
    """Values of a scalar in the training rows, as formatted in a table, for the population baseline.

    Only this column of the training subjects is read.
    """
    cohort = model.read(subject_table(model, folder, "train"), [name])
    column, spec = cohort.columns[name], model.schema.variables[name].spec
    return pandas.Series([spec.format(value) for value in column.read(column.rows)])
