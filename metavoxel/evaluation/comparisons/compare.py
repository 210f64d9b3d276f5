"""Implementation of ``metavoxel compare``: check the methods, then run their jobs in sequence."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from metavoxel.errors import EvidenceError, MetavoxelError, Problem, did_you_mean
from metavoxel.evaluation.comparisons.base import AbstractComparison
from metavoxel.evaluation.comparisons.methods import METHODS
from metavoxel.evaluation.comparisons.record import Record
from metavoxel.evaluation.comparisons.stopwatch import Stopwatch
from metavoxel.evaluation.comparisons.study import ComparisonSettings, Study, open_run, predictable, read_study
from metavoxel.inference.model import Model
from metavoxel.runs.progress import Progress

FOLDER = "comparisons"
"""Subfolder of a run that holds one folder per method."""


def compare(
    run: Path,
    methods: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    settings: ComparisonSettings | None = None,
) -> Generator[Progress, None, dict[str, Record]]:
    """Train methods on the cohort and split of a run, and write their results to ``run / "comparisons"``.

    Failed jobs are recorded, and the remaining jobs run. Completed jobs are kept, so the same call resumes.

    Args:
        run: a finished run.
        methods: names in :data:`METHODS`; by default all that apply to the run's schema.
        targets: variables to predict; by default every number and category.
        settings: training settings of the methods.

    Returns:
        The record of each method.

    Raises:
        RunError: the run is not finished or has no test subjects, or results exist with other settings.
        EvidenceError: unknown or inapplicable methods or targets; lists all problems.
        CohortError: the cohort differs from that of the run.
    """
    settings = settings or ComparisonSettings()
    model, split = open_run(run)
    chosen, predicted = check(model, methods, targets)
    records = {}
    for name in chosen:
        relevant = {field: getattr(settings, field) for field in METHODS[name].relevant_settings}
        records[name] = Record(run / FOLDER / name, name, relevant)
    study = read_study(run, model, split, predicted, settings)
    for record in records.values():
        record.resume()
    yield Progress("cohort", 1, 1, {part: float(len(rows)) for part, rows in study.cohort.parts.items()})
    for name in chosen:
        yield from _run_jobs(METHODS[name], study, run / FOLDER / name, records[name])
    return records


def check(model: Model, methods: Sequence[str] | None, targets: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the methods and targets to run.

    Raises:
        EvidenceError: unknown or inapplicable methods or targets; lists all problems.
    """
    reasons = {name: method.unsuitable(model.schema) for name, method in METHODS.items()}
    applicable = [name for name, reason in reasons.items() if reason is None]
    problems = []
    for name in methods or ():
        if name not in METHODS:
            what = f"no method {name!r}.{did_you_mean(name, list(METHODS))} Methods: {', '.join(METHODS)}"
            problems.append(Problem("methods", what))
        elif reasons[name] is not None:
            suitable = ", ".join(applicable) or "none"
            what = f"{name!r} {reasons[name]}, and this schema has none. Of use here: {suitable}"
            problems.append(Problem("methods", what))
    known = predictable(model)
    for name in targets or ():
        if name not in model.schema.variables:
            what = f"no variable {name!r}.{did_you_mean(name, known)} Possible targets: {', '.join(known)}"
            problems.append(Problem("targets", what))
        elif name not in known:
            what = f"{name!r} is neither a number nor a category. Possible targets: {', '.join(known) or 'none'}"
            problems.append(Problem("targets", what))
    if problems:
        raise EvidenceError(problems)
    return list(dict.fromkeys(applicable if methods is None else methods)), list(dict.fromkeys(targets or known))


def _run_jobs(
    method: AbstractComparison, study: Study, folder: Path, record: Record
) -> Generator[Progress, None, None]:
    watch = Stopwatch(folder / "seconds.json")
    for job in method.jobs(study, folder, watch):
        if record.is_done(job.name):
            yield Progress(f"{folder.name} {job.name}", 1, 1, {})
            continue
        try:
            with closing(job.work):
                done = yield from job.work
        except MetavoxelError as error:
            record.fail(job.name, "; ".join(map(str, error.problems)))
        except Exception as error:
            # Any failure of a method leaves a gap in the results, and the other jobs run.
            record.fail(job.name, f"{type(error).__name__}: {error}")
        else:
            record.add(job.name, done, watch.seconds().get(job.name, 0.0))
