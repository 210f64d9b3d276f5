"""What all methods are given: the run's cohort, its split, its codecs, and where answers go."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, final

import pandas
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import build_cohort
from metavoxel.cohort.table import Table
from metavoxel.errors import Problem, RunError
from metavoxel.inference.model import Model
from metavoxel.inference.summaries import mean_cells
from metavoxel.runs.part import own_table
from metavoxel.runs.run import RunFolder, load
from metavoxel.typing import Code

Size = Literal["small", "medium", "full"]
FULL_SIZE_FROM, MEDIUM_SIZE_FROM = 3000, 300
"""Training rows from which networks are of that size, where none is asked for."""


class ComparisonSettings(NamedTuple):
    """How the methods are trained.

    Attributes:
        size: of discriminative networks; by default chosen from the number of training rows.
        steps: optimiser steps of discriminative networks; by default chosen from the number of training rows.
        samples: images that a generative method leaves; 0 for none.
        accelerator, precision: as for training.
    """

    size: Size | None = None
    steps: int | None = None
    samples: int = 100
    accelerator: str = "auto"
    precision: str = "auto"


class Values(NamedTuple):
    """Codes of a variable in all rows of the cohort, zeros where there is none."""

    code: Float[Tensor, "n c"]
    present: Bool[Tensor, "n"]


@final
@dataclass(frozen=True, eq=False)
class Study:
    """A run as the methods see it.

    Attributes:
        run: its folder.
        model: the trained model, for its schema and its codecs.
        table: the cohort's.
        cohort: all values, divided as the run divided them.
        targets: variables to be predicted.
        settings: how.
    """

    run: RunFolder
    model: Model
    table: Table
    cohort: Cohort
    targets: Sequence[str]
    settings: ComparisonSettings

    @property
    def images(self) -> list[str]:
        """Variables with a grid."""
        return [name for name, spec in self.cohort.variables.items() if spec.spatial]

    @property
    def scalars(self) -> list[str]:
        """Variables with numbers for a code."""
        return predictable(self.model)

    @property
    def size(self) -> Size:
        """Of discriminative networks."""
        if self.settings.size is not None:
            return self.settings.size
        rows = len(self.rows("train"))
        return "small" if rows < MEDIUM_SIZE_FROM else "medium" if rows < FULL_SIZE_FROM else "full"

    def rows(self, part: str) -> Int64[Tensor, "m"]:
        """Rows of a part of the split."""
        return self.cohort.parts[part]

    def known(self, part: str, name: str) -> Int64[Tensor, "m"]:
        """Rows of a part that have a value of a variable."""
        rows = self.rows(part)
        return rows[self.cohort.columns[name].present[rows]]

    def others(self, target: str) -> list[str]:
        """What a target is predicted from."""
        return [name for name in [*self.images, *self.scalars] if name != target]

    def values(self, name: str) -> Values:
        """Codes of a scalar, as the run's codec has them."""
        column, codec = self.cohort.columns[name], self.model.codecs[name]
        code = torch.zeros(len(self.cohort), *codec.code_shape)
        rows = column.present.nonzero()[:, 0]
        if len(rows):
            with torch.inference_mode():
                code[rows] = codec.encode(column.read(rows)).mean.cpu()
        return Values(code, column.present)

    def write(self, folder: Path, target: str, code: Code) -> None:
        """A method's table: one row a test subject, its columns those of ``metavoxel predict``.

        Args:
            folder: the method's.
            target: variable that was predicted.
            code: for each test row, what is expected of the run's code of it: for a category, probabilities.
        """
        spec, codec = self.cohort.variables[target], self.model.codecs[target]
        subject = self.model.schema.cohort.subject
        with torch.inference_mode():
            cells = mean_cells(target, spec, codec, code)
        rows = [
            {subject: self.cohort.subjects[row], **more}
            for row, more in zip(self.rows("test").tolist(), cells, strict=True)
        ]
        self.write_table(folder, target, pandas.DataFrame(rows))

    def write_table(self, folder: Path, target: str, frame: pandas.DataFrame) -> None:
        """Write a table of predictions whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"predictions-{target}.tsv"
        temporary = path.with_suffix(".partial")
        frame.to_csv(temporary, sep="\t", index=False)
        temporary.replace(path)

    def test_table(self) -> Table:
        """The test rows as text."""
        rows = self.rows("test").tolist()
        frame = self.table.frame.iloc[rows].reset_index(drop=True)
        return replace(self.table, frame=frame, places=[self.table.places[row] for row in rows])


def predictable(model: Model) -> list[str]:
    """Scalars whose codes are numbers, or a category's indicators: what can be regressed on and classified."""
    return [
        name
        for name, codec in model.codecs.items()
        if codec.support in ("real", "one_hot") and len(codec.code_shape) == 1
    ]


def open_run(run: Path) -> tuple[Model, dict[str, list[str]]]:
    """The model of a run, and the keys of the rows in each part of its split.

    Raises:
        RunError: not a finished run, or one without test subjects.
    """
    model, split = load(run), RunFolder(run).read_record()["split"]
    if not split.get("test"):
        what = "has no test subjects to compare on; train it with a share above 0 for cohort.split.test"
        raise RunError(Problem(str(run), what))
    return model, split


def read_study(
    run: Path, model: Model, split: dict[str, list[str]], targets: Sequence[str], settings: ComparisonSettings
) -> Study:
    """Read the cohort of a run, images included, and divide it as the run did.

    Raises:
        CohortError: it is not what the run was trained on.
    """
    folder, schema = RunFolder(run), model.schema
    table = own_table(model)
    cohort = build_cohort(table, schema.specs, schema.cohort, cache=folder.cache, parts=split)
    return Study(folder, model, table, cohort, targets, settings)
