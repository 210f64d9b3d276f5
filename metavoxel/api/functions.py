"""The Python interface: schemas, training, evaluation, comparisons and phantoms as functions.

Errors are those of the command line, in Python's words: a :class:`metavoxel.errors.MetavoxelError` that names the
argument, the problem and its remedy. Training, evaluation, comparisons and phantoms are imported when they are used.
"""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas

from metavoxel.api.arguments import COHORT, as_names, as_path, as_registry, schema_of
from metavoxel.errors import Problem, RunError, SchemaError
from metavoxel.inference.model import Model
from metavoxel.inference.tables import Rows, as_table, frame_table
from metavoxel.plugins.registry import Registry
from metavoxel.runs.bars import finish
from metavoxel.runs.checkpoints import MINUTES
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder, resolved_device
from metavoxel.runs.run import load as load_run
from metavoxel.schema import Schema
from metavoxel.schema import load_schema as read_schema

if TYPE_CHECKING:
    from metavoxel.evaluation.comparisons import ComparisonSettings, Record
    from metavoxel.evaluation.results import Results
    from metavoxel.preparation.new_scans import PreparedRows


def load(run: Path | str, *, registry: Registry | None = None, device: str = "cpu") -> Model:
    """Load the model of a run folder. Nothing in the folder is executed or unpickled.

    Args:
        run: folder of a finished run.
        registry: types that the run may name; by default all installed.
        device: 'cpu', 'cuda', 'cuda:1', ..., or 'auto': cuda if available.

    Raises:
        RunError: not a finished run, a device that this machine lacks, or a required plugin that is not installed.
    """
    path, device = as_path(run, "run"), resolved_device(device, f"device {device!r}")
    return load_run(path, registry=as_registry(registry), device=device)


def load_schema(path: Path | str, registry: Registry | None = None) -> Schema:
    """Read and check the YAML file of a schema. Nothing in it is executed.

    Raises:
        SchemaError: all problems of the file.
    """
    if not isinstance(path, Path | str):
        what = f"must be the path of a YAML file, not {type(path).__name__}; mv.train takes a mapping as it is"
        raise SchemaError(Problem("path", what))
    return read_schema(path, as_registry(registry))


def training(
    schema: Schema | Path | str | Mapping[str, object],
    output: Path | str,
    *,
    table: pandas.DataFrame | None = None,
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "ddp",
    precision: str = "auto",
    accelerator: str = "auto",
    checkpoint_minutes: float = MINUTES,
    registry: Registry | None = None,
) -> Generator[Progress, None, None]:
    """Train a model into a run folder, yielding progress; see :func:`train`.

    Raises:
        MetavoxelError: as :func:`train`, at the first step.
    """
    from metavoxel.learning.training import training as training_steps

    output = as_path(output, "output")
    if not isinstance(checkpoint_minutes, int | float) or not checkpoint_minutes >= 0:
        raise RunError(Problem("checkpoint_minutes", f"must be a number from 0, not {checkpoint_minutes!r}"))
    parsed = schema_of(schema, output, table, registry, resume=resume)
    try:
        yield from training_steps(
            parsed,
            output,
            resume=resume,
            devices=devices,
            nodes=nodes,
            strategy=strategy,
            precision=precision,
            accelerator=accelerator,
            checkpoint_minutes=checkpoint_minutes,
            registry=registry,
        )
    finally:
        # a table that was refused would be in the way of the next call
        if table is not None and not resume and not RunFolder(output).record.exists():
            (output / COHORT).unlink(missing_ok=True)


def train(
    schema: Schema | Path | str | Mapping[str, object],
    output: Path | str,
    *,
    table: pandas.DataFrame | None = None,
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "ddp",
    precision: str = "auto",
    accelerator: str = "auto",
    checkpoint_minutes: float = MINUTES,
    registry: Registry | None = None,
    progress: bool = False,
) -> Model:
    """Train a model into a run folder, and load it.

    Args:
        schema: as for :func:`schema`.
        output: run folder.
        table: the cohort as a data frame, instead of ``cohort.table``. It is kept in the run folder, as ``cohort.csv``;
            relative paths of images start at the schema's folder (for a mapping, the current one).
        resume: continue the run in ``output``.
        devices, nodes, strategy, precision, accelerator: as the command's options; 'auto' detects the hardware.
        checkpoint_minutes: time between checkpoints, of which a crash costs at most one interval.
        registry: types that the schema may name; by default all installed. ``load`` needs the same.
        progress: whether to show progress bars.

    Raises:
        SchemaError, CohortError, RunError: all that is wrong with the schema, its cohort or the folder.
    """
    work = training(
        schema,
        output,
        table=table,
        resume=resume,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        precision=precision,
        accelerator=accelerator,
        checkpoint_minutes=checkpoint_minutes,
        registry=registry,
    )
    finish(work, progress=progress)
    return load(output, registry=registry)


def evaluate(
    run: Path | str,
    output: Path | str | None = None,
    *,
    targets: Sequence[str] = (),
    flexible: str | None = None,
    draws: int | None = None,
    steps: int = 50,
    sample_steps: int = 50,
    samples: int = 100,
    rows: int = 1000,
    copies: bool = True,
    by: Sequence[str] = (),
    features: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    registry: Registry | None = None,
    progress: bool = False,
) -> "Results":
    """Evaluate a run on its held-out test part; write report.html, tables and figures.

    Args:
        run: folder of a finished run.
        output: folder; by default ``run / "evaluation"``.
        targets, flexible, draws, steps, sample_steps, samples, rows, copies, by, seed: as in
            :class:`metavoxel.evaluation.settings.Settings`.
        features: features of FID, 'scattering', 'radimagenet' or a file of weights; by default 'scattering' if there
            are enough scans.
        device: where the network computes.
        registry: types that the run may name.
        progress: whether to show progress bars.

    Raises:
        RunError: the run is not finished or has no test part.
        EvidenceError: unknown variables or columns, or numbers out of range.
    """
    from metavoxel.evaluation.evaluating import evaluating
    from metavoxel.evaluation.metrics.features.choose import choose_features
    from metavoxel.evaluation.settings import Settings

    folder = RunFolder(as_path(run, "run"))
    settings = Settings(
        targets=as_names(targets),
        flexible=flexible,
        draws=draws,
        steps=steps,
        sample_steps=sample_steps,
        samples=samples,
        rows=rows,
        copies=copies,
        by=as_names(by),
        seed=seed,
        fid=features is not None,
    )
    model = load(run, registry=registry, device=device)
    target = folder.path / "evaluation" if output is None else as_path(output, "output")
    target.mkdir(parents=True, exist_ok=True)
    work = evaluating(model, folder, target, settings, choose_features(features or "scattering"))
    return finish(work, progress=progress)


def compare(
    run: Path | str,
    methods: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    *,
    settings: "ComparisonSettings | None" = None,
    progress: bool = False,
) -> "dict[str, Record]":
    """Train other methods on a run's cohort and split; write their predictions for its test subjects.

    Args:
        run: folder of a finished run.
        methods: by default all that apply to the run's schema.
        targets: variables to predict; by default every number and category.
        settings: of the methods' training.
        progress: whether to show progress bars.

    Raises:
        RunError, EvidenceError, CohortError: as for the command.
    """
    from metavoxel.evaluation.comparisons import compare as comparing

    chosen, wanted = (None if names is None else as_names(names) for names in (methods, targets))
    work = comparing(as_path(run, "run"), chosen, wanted, settings)
    return finish(work, progress=progress)


def phantom(output: Path | str, *, reports: bool = False, progress: bool = False, **settings: object) -> Path:
    """Write a cohort of phantom brains as a BIDS folder with a schema; return the schema's path.

    Args:
        output: folder: new, empty, or of phantoms with the same settings.
        reports: whether to write pictures with reports instead, as a table.
        progress: whether to show a progress bar.
        settings: fields of :class:`metavoxel.cohort.phantoms.PhantomSettings` (subjects, spacing, noise, disease, ...),
            or of :class:`metavoxel.cohort.phantoms.reports.ReportSettings` (subjects, pixels, noise, seed).

    Raises:
        CohortError: unknown settings or values out of range.
    """
    from metavoxel.cohort.phantoms import phantom_settings, write_phantom, write_schema
    from metavoxel.cohort.phantoms.reports import report_settings, write_report_phantom, write_report_schema
    from metavoxel.runs.subjects import phantom_progress

    folder = as_path(output, "output")

    def pictures() -> Generator[Progress, None, Path]:
        yield from phantom_progress(write_report_phantom(folder, report_settings(settings)))
        return write_report_schema(folder)

    def brains() -> Generator[Progress, None, Path]:
        chosen = phantom_settings(settings)
        yield from phantom_progress(write_phantom(folder, chosen))
        return write_schema(folder, chosen)

    return finish(pictures() if reports else brains(), progress=progress)


def prepare_like(
    run: Path | str, table: Rows, output: Path | str, *, given: Sequence[str] | None = None, progress: bool = False
) -> "PreparedRows":
    """Prepare native scans as the training scans of a run were: ``model.predict(found.table, ...)`` reads the result.

    Args:
        run: folder of a finished run, trained on a derivative of ``metavoxel prepare``.
        table: rows with native scans, as for :meth:`metavoxel.Model.predict`, or a raw BIDS folder.
        output: folder for the prepared scans, a BIDS derivative with pictures; repeated, finished scans are kept.
        given: variables that are read; by default all that the table has.
        progress: whether to show a progress bar.

    Returns:
        The table with the prepared scans in its cells, and for each scan its quality figures and why it is suspicious.

    Raises:
        EvidenceError: the run's images were not prepared by ``metavoxel prepare``.
        CohortError: scans that cannot be prepared; the others are, and are kept.
    """
    from metavoxel.preparation.new_scans import native_specs, prepare_rows
    from metavoxel.runs.subjects import subject_progress

    folder = RunFolder(as_path(run, "run"))
    preparations = folder.preparations()
    schema = read_schema(folder.schema)
    native = schema.with_specs(native_specs(schema.specs, preparations))
    rows = as_table(table, native)
    rows = frame_table(rows) if isinstance(rows, pandas.DataFrame) else rows
    names = list(schema.specs) if given is None else list(given)
    work = prepare_rows(rows, schema.specs, preparations, names, as_path(output, "output"), schema.cohort)
    return finish(subject_progress(work), progress=progress)
