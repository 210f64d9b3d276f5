"""All that ``metavoxel compare`` does but talk: methods checked, then worked through, one job after another."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from metavoxel.comparisons.base import AbstractComparison
from metavoxel.comparisons.record import Record
from metavoxel.comparisons.stopwatch import Stopwatch
from metavoxel.comparisons.study import ComparisonSettings, Study, open_run, predictable, read_study
from metavoxel.comparisons.table import METHODS
from metavoxel.errors import EvidenceError, MetavoxelError, Problem, did_you_mean
from metavoxel.inference.model import Model
from metavoxel.runs.progress import Progress

FOLDER = "comparisons"
"""Of a run: a folder for each method."""


def compare(
    run: Path,
    methods: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    settings: ComparisonSettings | None = None,
) -> Generator[Progress, None, dict[str, Record]]:
    """Train methods on a run's cohort and split, and leave their answers in ``run / "comparisons"``.

    A job that fails is recorded, and the others go on. What is done is kept: the same call goes on where it stopped.

    Args:
        run: a finished run.
        methods: names in :data:`METHODS`; by default all that the run's schema suits.
        targets: variables to predict; by default every number and category.
        settings: how methods are trained.

    Returns:
        Each method's record.

    Raises:
        RunError: not a finished run, one without test subjects, or results of other settings.
        EvidenceError: methods or targets that are not there or do not suit, all at once.
        CohortError: the cohort is not what the run was trained on.
    """
    settings = settings or ComparisonSettings()
    model, split = open_run(run)
    chosen, asked = check(model, methods, targets)
    records = {}
    for name in chosen:
        heeded = {word: value for word, value in settings._asdict().items() if word in METHODS[name].heeds}
        records[name] = Record(run / FOLDER / name, name, heeded)
    study = read_study(run, model, split, asked, settings)
    for record in records.values():
        record.resume()
    yield Progress("cohort", 1, 1, {part: float(len(rows)) for part, rows in study.cohort.parts.items()})
    for name in chosen:
        yield from _work(METHODS[name], study, run / FOLDER / name, records[name])
    return records


def check(model: Model, methods: Sequence[str] | None, targets: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Methods and targets to work through.

    Raises:
        EvidenceError: what is wrong with them, all at once.
    """
    suits = {name: method.unsuitable(model.schema) for name, method in METHODS.items()}
    able = [name for name, reason in suits.items() if reason is None]
    problems = []
    for name in methods or ():
        if name not in METHODS:
            what = f"no method {name!r}.{did_you_mean(name, list(METHODS))} Methods: {', '.join(METHODS)}"
            problems.append(Problem("methods", what))
        elif suits[name] is not None:
            what = f"{name!r} {suits[name]}, and this schema has none. Of use here: {', '.join(able) or 'none'}"
            problems.append(Problem("methods", what))
    known = predictable(model)
    for name in targets or ():
        if name not in model.schema.variables:
            what = f"no variable {name!r}.{did_you_mean(name, known)} Variables that can be: {', '.join(known)}"
            problems.append(Problem("targets", what))
        elif name not in known:
            what = f"{name!r} is no number or category; variables that can be: {', '.join(known) or 'none'}"
            problems.append(Problem("targets", what))
    if problems:
        raise EvidenceError(problems)
    return list(dict.fromkeys(able if methods is None else methods)), list(dict.fromkeys(targets or known))


def _work(method: AbstractComparison, study: Study, folder: Path, record: Record) -> Generator[Progress, None, None]:
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
            # A method that fails, of whatever, is a row that is missing from a table: the others go on.
            record.fail(job.name, f"{type(error).__name__}: {error}")
        else:
            record.add(job.name, done, watch.seconds().get(job.name, 0.0))
