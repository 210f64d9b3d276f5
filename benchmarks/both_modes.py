"""Comparisons and evaluations of runs in the default mode and in the paper's, on the same codec."""

import json
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import metavoxel as mv
from metavoxel.evaluation.comparisons import FOLDER, ComparisonSettings, compare
from metavoxel.evaluation.evaluating import evaluating
from metavoxel.evaluation.metrics.features.scattering import Scattering
from metavoxel.evaluation.results import Results
from metavoxel.evaluation.settings import Settings
from metavoxel.runs.bars import show
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder

MODES = ("evidence", "shared")
OWN = ("ldm", "continuous_sex")
"""Comparisons that are variants of the run's joint model, and so differ between modes."""
COMMON = ("linear", "densenet", "braid", "vit")
"""Comparisons that depend only on images, table and split, which both modes share: trained once."""


@contextmanager
def timed(record: Path, stage: str) -> Iterator[None]:
    """Add the processor minutes of a stage, over all its starts, to a JSON file."""
    start = time.process_time()
    try:
        yield
    finally:
        found = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        found[stage] = round(found.get(stage, 0.0) + (time.process_time() - start) / 60, 2)
        record.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(f"{stage}: {found[stage]} minutes of processor time so far", flush=True)


def compare_all(
    run: Path, settings: ComparisonSettings, minutes: Path, common: Path | None = None, own: Sequence[str] = OWN
) -> None:
    """Train the comparisons of a run.

    Args:
        run: its folder.
        settings: of the comparisons' training.
        minutes: file for the time of each.
        common: a run on the same images, table and split, whose ``COMMON`` comparisons are reused.
        own: the chosen ones of ``OWN``.
    """
    if common is not None:
        for name in COMMON:
            shutil.copytree(
                common / FOLDER / name, run / FOLDER / name, dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("networks"),
            )  # fmt: skip
    for name in [*(COMMON if common is None else ()), *own]:
        with timed(minutes, f"{run.name}: {name}"):
            show(compare(run, [name], settings=settings))


def evaluated(run: Path, settings: Settings, minutes: Path) -> Results:
    """Write tables, figures and report of a run to its folder ``evaluation``, and return their results."""
    folder, kept = RunFolder(run), list[Results]()

    def keeping() -> Generator[Progress, None, None]:
        kept.append((yield from evaluating(mv.load(run), folder, run / "evaluation", settings, Scattering())))

    with timed(minutes, f"{run.name}: evaluation"):
        show(keeping())
    return kept[0]
