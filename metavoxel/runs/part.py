"""Tables of a run's own cohort, whole or restricted to a part of its split."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from metavoxel.cohort.bids import read_bids
from metavoxel.cohort.source import read_cohort_table
from metavoxel.cohort.table import Table, read_table
from metavoxel.errors import EvidenceError, Problem, RunError
from metavoxel.inference.model import Model
from metavoxel.runs.run import RunFolder


def read_source(model: Model, source: Path, variables: Collection[str] | None = None) -> Table:
    """Read a table, or a BIDS folder by a model's schema: the files of ``variables``, by default of all."""
    specs = {name: spec for name, spec in model.schema.specs.items() if variables is None or name in variables}
    return read_bids(source, specs) if source.is_dir() else read_table(source)


def own_table(model: Model) -> Table:
    """Read the table or BIDS folder that a model's schema names as its cohort."""
    return read_cohort_table(model.schema.cohort, model.schema.specs, model.schema.folder)


def subject_table(model: Model, folder: RunFolder, part: str) -> Table:
    """Select all rows of the subjects in a part of a run's split, without reading any value or image.

    Raises:
        EvidenceError: no such part.
    """
    split = folder.read_record()["split"]
    if part not in split:
        raise EvidenceError(Problem("`part`", f"{part!r} is not one of {', '.join(split)}"))
    return _rows_of_subjects(own_table(model), model.schema.cohort.subject, split[part])


def part_table(model: Model, folder: RunFolder, part: str) -> Table:
    """Select the rows in a part of a run's split. Values and images of other subjects are not read.

    Raises:
        EvidenceError: no such part.
        RunError: rows of the part are no longer in the cohort.
    """
    table = subject_table(model, folder, part)
    wanted = set(folder.read_record()["split"][part])
    subject = model.schema.cohort.subject
    if subject in table.frame and sorted(map(str, table.frame[subject])) == sorted(wanted):
        return table  # one row per subject, so that the subject is the row key
    known = model.read(table, [name for name, spec in model.schema.specs.items() if spec.lazy]).row_keys
    missing = sorted(wanted - set(known))
    if missing:
        raise RunError(f"{table.source}: has no row {missing[0]!r}, which the run's split names; it has changed")
    return _rows(table, [row for row, key in enumerate(known) if key in wanted])


def _rows_of_subjects(table: Table, column: str, keys: Collection[str]) -> Table:
    """Select all rows of the subjects that row keys may belong to: a key is its subject, or starts with it."""
    if column not in table.frame:
        return table
    candidates = {key[:end] for key in keys for end in (len(key), *_subject_ends(key))}
    return _rows(table, [row for row, subject in enumerate(table.frame[column]) if str(subject) in candidates])


def _subject_ends(key: str) -> list[int]:
    """Candidate ends of the subject in a row key: before a session or images, or before the number of a duplicate."""
    return [position for position, character in enumerate(key) if character in "/#"]


def _rows(table: Table, rows: list[int]) -> Table:
    frame = table.frame.iloc[rows].reset_index(drop=True)
    return replace(table, frame=frame, places=[table.places[row] for row in rows])
