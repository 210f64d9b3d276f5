"""Native scans of ``metavoxel predict`` and ``sample`` with ``--prepare``, prepared as those of the training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas
import typer

from metavoxel.cohort.bids import read_bids
from metavoxel.cohort.table import Table, read_table
from metavoxel.errors import EvidenceError, Problem
from metavoxel.inference.model import Model
from metavoxel.preparation.cohort_record import CohortPreparation
from metavoxel.preparation.new_scans import PreparedRows, native_specs, prepare_rows, require_preparation
from metavoxel.runs.bars import show
from metavoxel.runs.subjects import subject_progress

_SHOWN = 20


def native_rows(
    model: Model, preparations: Mapping[str, CohortPreparation], source: Path | None, given: Sequence[str], output: Path
) -> Table:
    """Read a table or BIDS folder of native scans, prepare them into ``output``, and print their figures.

    Raises:
        EvidenceError: no table is given, or the run did not record a preparation.
        CohortError: scans that cannot be prepared.
    """
    if source is None:
        what = "is for new scans, and those of the run's own cohort are prepared: give a table, or leave it out"
        raise EvidenceError(Problem("`prepare`", what))
    require_preparation(preparations, model.schema.specs, given)
    specs = {name: spec for name, spec in native_specs(model.schema.specs, preparations).items() if name in given}
    table = read_bids(source, specs) if source.is_dir() else read_table(source)
    return _prepared(model, preparations, table, given, output).table


def native_values(
    model: Model, preparations: Mapping[str, CohortPreparation], given: Mapping[str, str], output: Path
) -> dict[str, str]:
    """Prepare the images among given values into ``output``, print their figures, and return the values with them.

    Raises:
        EvidenceError: the run did not record a preparation, or no image is given.
        CohortError: scans that cannot be prepared.
    """
    specs = model.schema.specs
    require_preparation(preparations, specs, list(given))
    images = {name: text for name, text in given.items() if name in preparations}
    columns = {next(iter(specs[name].file_columns(name)), name): text for name, text in images.items()}
    frame = pandas.DataFrame([{model.schema.cohort.subject: "given", **columns}], dtype=object)
    table = Table(frame, Path(), "given", ["--given"])
    prepared = _prepared(model, preparations, table, list(images), output).table.frame
    files = {name: next(iter(specs[name].file_columns(name))) for name in images}
    return {**given, **{name: str(prepared[column][0]) for name, column in files.items()}}


def _prepared(
    model: Model, preparations: Mapping[str, CohortPreparation], table: Table, given: Sequence[str], output: Path
) -> PreparedRows:
    work = prepare_rows(table, model.schema.specs, preparations, given, output, model.schema.cohort)
    found = show(subject_progress(work))
    worst_first = sorted(found.scans, key=lambda scan: -len(scan.reasons))
    for scan in worst_first[:_SHOWN]:
        typer.echo(f"Prepared {scan}")
    if len(worst_first) > _SHOWN:
        typer.echo(f"... and {len(worst_first) - _SHOWN} more, in {output / 'quality.tsv'}")
    return found
