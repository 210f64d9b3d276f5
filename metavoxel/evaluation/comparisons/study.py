"""Data shared by all methods: cohort, split and codecs of the run, and output of predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, final

import pandas
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import build_cohort
from metavoxel.cohort.table import Table
from metavoxel.errors import Problem, RunError
from metavoxel.evaluation.choices import Size
from metavoxel.inference.model import Model
from metavoxel.inference.summaries import mean_cells
from metavoxel.runs.part import own_table
from metavoxel.runs.run import RunFolder, load
from metavoxel.storage.atomic import replaced
from metavoxel.typing import Code

FULL_SIZE_FROM, MEDIUM_SIZE_FROM = 3000, 300
"""Minimum numbers of training rows for which networks have this size by default."""


class ComparisonSettings(NamedTuple):
    """Training settings of the methods.

    Attributes:
        size: size of discriminative networks; by default chosen from the number of training rows.
        steps: optimiser steps of discriminative networks; by default chosen from the number of training rows.
        samples: number of samples drawn from generative methods.
        accelerator, precision: as for training.
    """

    size: Size | None = None
    steps: int | None = None
    samples: int = 100
    accelerator: str = "auto"
    precision: str = "auto"


class Values(NamedTuple):
    """Codes of a variable in all rows of the cohort, zeros if missing."""

    code: Float[Tensor, "n c"]
    present: Bool[Tensor, "n"]


@final
@dataclass(frozen=True, eq=False)
class Study:
    """Inputs of the methods, taken from a run.

    Attributes:
        run: folder of the run.
        model: trained model, used for its schema and codecs.
        table: table of the cohort.
        cohort: all values, with the split of the run.
        targets: variables to predict.
        settings: training settings of the methods.
    """

    run: RunFolder
    model: Model
    table: Table
    cohort: Cohort
    targets: Sequence[str]
    settings: ComparisonSettings

    @property
    def images(self) -> list[str]:
        """Names of the variables with a grid."""
        return [name for name, spec in self.cohort.variables.items() if spec.spatial]

    @property
    def scalars(self) -> list[str]:
        """Names of the scalars that can be predicted."""
        return predictable(self.model)

    @property
    def size(self) -> Size:
        """Size of discriminative networks."""
        if self.settings.size is not None:
            return self.settings.size
        rows = len(self.rows("train"))
        return "small" if rows < MEDIUM_SIZE_FROM else "medium" if rows < FULL_SIZE_FROM else "full"

    def rows(self, part: str) -> Int64[Tensor, "m"]:
        """Return the rows of a part of the split."""
        return self.cohort.parts[part]

    def known(self, part: str, name: str) -> Int64[Tensor, "m"]:
        """Return the rows of a part in which a variable is present."""
        rows = self.rows(part)
        return rows[self.cohort.columns[name].present[rows]]

    def others(self, target: str) -> list[str]:
        """Return the predictors of a target: all other variables."""
        return [name for name in [*self.images, *self.scalars] if name != target]

    def values(self, name: str) -> Values:
        """Encode a scalar with the codec of the run."""
        column, codec = self.cohort.columns[name], self.model.codecs[name]
        code = torch.zeros(len(self.cohort), *codec.code_shape)
        rows = column.present.nonzero()[:, 0]
        if len(rows):
            with torch.inference_mode():
                code[rows] = codec.encode(column.read(rows)).mean.cpu()
        return Values(code, column.present)

    def write(self, folder: Path, target: str, code: Code) -> None:
        """Write a method's predictions: one row per test subject, with the columns of ``metavoxel predict``.

        Args:
            folder: folder of the method.
            target: predicted variable.
            code: predicted code of each test row, in the run's code space; for a category, probabilities.
        """
        spec, codec = self.cohort.variables[target], self.model.codecs[target]
        subject = self.model.schema.cohort.subject
        with torch.inference_mode():
            cells = mean_cells(target, spec, codec, code)
        rows = [
            {subject: self.cohort.subjects[row], **values}
            for row, values in zip(self.rows("test").tolist(), cells, strict=True)
        ]
        self.write_table(folder, target, pandas.DataFrame(rows))

    def write_table(self, folder: Path, target: str, frame: pandas.DataFrame) -> None:
        """Write a table of predictions atomically."""
        with replaced(folder / f"predictions-{target}.tsv") as temporary:
            frame.to_csv(temporary, sep="\t", index=False)

    def test_table(self) -> Table:
        """Return the test rows of the table as text."""
        rows = self.rows("test").tolist()
        frame = self.table.frame.iloc[rows].reset_index(drop=True)
        return replace(self.table, frame=frame, places=[self.table.places[row] for row in rows])


def predictable(model: Model) -> list[str]:
    """Return the scalars whose code is numeric or one-hot, to which regression and classification apply."""
    return [name for name, codec in model.codecs.items() if codec.is_label or codec.is_numeric]


def open_run(run: Path) -> tuple[Model, dict[str, list[str]]]:
    """Load the model of a run, and the row keys of each part of its split.

    Raises:
        RunError: the run is not finished, or has no test subjects.
    """
    model, split = load(run), RunFolder(run).read_record()["split"]
    if not split.get("test"):
        what = "has no test subjects to compare on; train it with cohort.split.test above 0"
        raise RunError(Problem(str(run), what))
    return model, split


def read_study(
    run: Path, model: Model, split: dict[str, list[str]], targets: Sequence[str], settings: ComparisonSettings
) -> Study:
    """Read the cohort of a run, images included, with the split of the run.

    Raises:
        CohortError: the cohort differs from that of the run.
    """
    folder, schema = RunFolder(run), model.schema
    table = own_table(model)
    cohort = build_cohort(table, schema.specs, schema.cohort, cache=folder.cache, parts=split)
    return Study(folder, model, table, cohort, targets, settings)
