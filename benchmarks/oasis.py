"""The 151 elderly subjects of OASIS-1 with one middle slice each, split for repeated cross-validation.

Acknowledgement: Open Access Series of Imaging Studies, cross-sectional data (Marcus et al. 2007).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas
import yaml
from jaxtyping import Int64
from sklearn.model_selection import StratifiedKFold

import metavoxel as mv
from metavoxel.runs.run import RunFolder

TABLE = Path("../shared/data/oasis1_slices/participants.csv")
RATINGS = ("0", "0.5", "1")
FOLDS = 5


class Fold(NamedTuple):
    """A fold of a repeat: its test and validation rows."""

    repeat: int
    number: int
    test: Int64[np.ndarray, "n"]
    validation: Int64[np.ndarray, "m"]

    @property
    def name(self) -> str:
        return f"{self.repeat}-{self.number}"


def subjects(table: Path) -> pandas.DataFrame:
    """Return all subjects with a dementia rating, with cells as text."""
    frame = pandas.read_csv(table, dtype=str, keep_default_na=False)
    return frame[frame["CDR"].isin(RATINGS)].reset_index(drop=True)


def folds(frame: pandas.DataFrame, repeats: int) -> Iterator[Fold]:
    """Yield five folds per repeat, stratified by rating; a sixth of the rows outside a fold is for validation."""
    for repeat in range(repeats):
        splits = StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(frame, frame["CDR"])
        for number, (rest, test) in enumerate(splits):
            order = np.random.default_rng(100 * repeat + number).permutation(rest)
            yield Fold(repeat, number, test, order[: len(rest) // 6])


def schema_of(
    frame: pandas.DataFrame, fold: Fold, variables: Mapping[str, object], path: Path, **sections: object
) -> mv.Schema:
    """Write a fold's table and schema to one folder, and load the schema.

    Args:
        frame: all subjects.
        fold: test and validation rows.
        variables: as in a schema.
        path: of the schema; the table has the same stem.
        sections: further sections of the schema.
    """
    parts = np.full(len(frame), "train", dtype=object)
    parts[fold.test], parts[fold.validation] = "test", "validation"
    table = path.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.assign(part=parts).to_csv(table, index=False)
    split = {"column": "part", "train": 0.7, "validation": 0.1, "test": 0.2}
    cohort = {"table": table.name, "subject": "ID", "missing": ["", "N/A"], "split": split}
    raw = {"cohort": cohort, "variables": dict(variables), **sections}
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return mv.load_schema(path)


def trained(schema: mv.Schema, run: Path) -> mv.Model:
    """Return the model of a run folder, trained unless trained."""
    folder = RunFolder(run)
    if not folder.weights.exists():
        mv.train(schema, run, resume=folder.record.exists())
    return mv.load(run)


def columns_of(frame: pandas.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return columns as numbers (n, k), NaN for empty cells; sex is 1 for men."""
    columns = frame.assign(**{"M/F": (frame["M/F"] == "M").astype(int)})[list(names)]
    return columns.apply(pandas.to_numeric, errors="coerce").to_numpy(float)
