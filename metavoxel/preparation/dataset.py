"""Prepare a dataset: subjects in parallel, participants' tables copied, figures and failures in tables of their own."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from metavoxel.cohort.bids_files import index_dataset
from metavoxel.errors import CohortError, Problem, RunError
from metavoxel.preparation.cluster import on_slurm
from metavoxel.preparation.dicom import convert_visits, dicom_visits
from metavoxel.preparation.extractors import GIVEN, make_extractor
from metavoxel.preparation.preparing import Outcome, Task, prepare_subject, subject_tasks
from metavoxel.preparation.quality import Quality, flags
from metavoxel.preparation.settings import RECORD, T1W, PrepareSettings, versions
from metavoxel.preparation.sources import Failure, find_scans
from metavoxel.preparation.tables import write_table
from metavoxel.preparation.template import SPACE
from metavoxel.storage.atomic import write_text

QUALITY, FAILURES = "quality.tsv", "failures.tsv"
CONVERTED = "sourcedata"
"""Folder of a derivative with the NIfTI files of a DICOM dataset."""
_SPACE_PER_VOXEL = 6.0
"""Bytes on disk of all outputs per voxel of the template's field of view, an upper bound."""


class Advance(NamedTuple):
    """Progress after one subject."""

    subject: str
    done: int
    total: int
    failed: int


class Summary(NamedTuple):
    """Result of a preparation: scans prepared now, found finished, failed, and flagged with reasons.

    ``left_out`` lists series of a DICOM folder that were not prepared, with the reasons.
    """

    prepared: int
    finished: int
    failures: tuple[Failure, ...]
    flagged: dict[str, list[str]]
    left_out: tuple[str, ...] = ()


def prepare_dataset(
    dataset: Path,
    derivative: Path,
    settings: PrepareSettings,
    *,
    entities: Mapping[str, str | None] | None = None,
    masks: Path | None = None,
    contrasts: Sequence[str] = (),
    series: str | None = None,
    workers: int = 1,
    slurm: Mapping[str, object] | None = None,
) -> Generator[Advance, None, Summary]:
    """Prepare all scans of a dataset into a BIDS derivative.

    Repeated, it continues: scans whose input, settings and versions are unchanged are kept. A scan that cannot be
    prepared costs itself alone, and is listed in ``failures.tsv``.

    Args:
        dataset: BIDS folder, folder of NIfTI files, or folder of DICOM series, one folder per subject.
        derivative: folder to write, outside the dataset or within its ``derivatives``.
        settings: how to prepare.
        entities: criteria of the scans in a BIDS folder, beyond suffix T1w.
        masks: folder of given brain masks, for the extractor 'given'.
        contrasts: BIDS suffixes of further images, registered to the T1w of their visit.
        series: pattern of the description of the DICOM series to take, where a visit has several.
        workers: number of processes.
        slurm: options of jobs on a SLURM cluster (of submitit), instead of processes.

    Yields:
        Progress after each subject.

    Raises:
        CohortError: nothing to prepare, or unusable settings.
        RunError: the derivative cannot be written, or its disk is full.
    """
    if (settings.extractor == GIVEN) != (masks is not None):
        raise CohortError(Problem("`masks`", f"a folder of masks goes with `extractor={GIVEN}`, and that with masks"))
    if settings.extractor != GIVEN:
        make_extractor(settings.extractor)
    visits = [] if index_dataset(dataset).files else dicom_visits(dataset)
    source, failures, left_out = dataset, list[Failure](), list[str]()
    if visits:
        claim_derivative(dataset, derivative, len(visits), settings.spacing)
        source = derivative / CONVERTED
        describe_derivative(source, derivative, settings)
        failures, left_out = convert_visits(visits, source, series)
        if len(failures) == len(visits):
            raise CohortError([Problem(failure.source, failure.problem) for failure in failures])
    found = find_scans(source, entities or {}, masks, contrasts)
    images = sum(1 + len(scan.contrasts) for scans in found.scans.values() for scan in scans)
    claim_derivative(dataset, derivative, images, settings.spacing)
    tasks = subject_tasks(found.scans, source, derivative, settings)
    describe_derivative(source, derivative, settings)
    _carry_tables(dataset, derivative)
    failures, prepared, finished = [*failures, *found.failures], 0, 0
    try:
        for done, outcome in enumerate(_outcomes(tasks, derivative, workers, slurm), start=1):
            failures.extend(outcome.failures)
            prepared, finished = prepared + outcome.prepared, finished + outcome.finished
            _write_failures(derivative, failures)
            yield Advance(outcome.subject, done, len(tasks), len(failures))
    except OSError as error:
        what = f"cannot be written ({error.strerror or error}). Finished scans are kept: repeat the command to continue"
        raise RunError(Problem(str(derivative), what)) from error
    _write_failures(derivative, failures)
    flagged = write_quality(derivative)
    return Summary(prepared, finished, tuple(failures), flagged, tuple(left_out))


def _outcomes(
    tasks: Sequence[Task], derivative: Path, workers: int, slurm: Mapping[str, object] | None
) -> Iterator[Outcome]:
    if slurm is not None:
        yield from on_slurm(prepare_subject, tasks, derivative / ".slurm", slurm)
    elif workers == 1 or len(tasks) == 1:
        yield from map(prepare_subject, tasks)
    else:
        # Fresh processes: those forked from one with threads, as PyTorch's, may never return.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(tasks)), context) as pool:
            futures = [pool.submit(prepare_subject, task) for task in tasks]
            try:
                yield from (future.result() for future in as_completed(futures))
            except BrokenProcessPool as error:
                what = "a process was ended from outside, perhaps for lack of memory: use fewer `workers`"
                raise RunError(what) from error
            finally:
                pool.shutdown(cancel_futures=True)


def claim_derivative(dataset: Path, derivative: Path, scans: int, spacing: float) -> None:
    """Create the folder of a derivative, or check that it is one; check that the disk has room for the scans.

    Raises:
        RunError: it is the dataset, holds other files, cannot be made, or the disk is too full.
    """
    if derivative.resolve() == dataset.resolve():
        raise RunError(Problem("`output`", f"{derivative} is the dataset itself; choose another folder"))
    description = derivative / "dataset_description.json"
    if derivative.exists() and any(derivative.iterdir()) and not _is_ours(description):
        what = f"{derivative} holds other files; choose a new folder, or one that this command wrote"
        raise RunError(Problem("`output`", what))
    try:
        derivative.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(Problem("`output`", f"{derivative}: cannot be made ({error.strerror})")) from None
    needed = scans * _SPACE_PER_VOXEL * 197 * 233 * 189 / spacing**3
    free = shutil.disk_usage(derivative).free
    if free < needed:
        what = f"{derivative}: {free / 1e9:.1f} GB are free, and {scans} scans may need {needed / 1e9:.1f} GB"
        raise RunError(Problem("`output`", what))


def _is_ours(description: Path) -> bool:
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        return any(entry.get("Name") == "metavoxel prepare" for entry in content["GeneratedBy"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def describe_derivative(dataset: Path, derivative: Path, settings: PrepareSettings) -> None:
    """Write the derivative's ``dataset_description.json``."""
    content = {
        "Name": f"{dataset.resolve().name}, prepared by metavoxel",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "metavoxel prepare",
                "Version": versions("")["metavoxel"],
                "Settings": settings.model_dump(mode="json"),
            }
        ],
        "DatasetLinks": {"raw": os.path.relpath(dataset.resolve(), derivative.resolve())},
    }
    write_text(derivative / "dataset_description.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _carry_tables(dataset: Path, derivative: Path) -> None:
    """Copy the tables of subjects and sessions, with their descriptions, so that the derivative is a cohort."""
    names = [Path(f"participants{ending}") for ending in (".tsv", ".json")]
    for subject in index_dataset(dataset).sessions:
        names += [Path(subject, f"{subject}_sessions{ending}") for ending in (".tsv", ".json")]
    for name in names:
        if (dataset / name).is_file():
            (derivative / name).parent.mkdir(parents=True, exist_ok=True)
            write_text(derivative / name, (dataset / name).read_text(encoding="utf-8"))


def _write_failures(derivative: Path, failures: Sequence[Failure]) -> None:
    path = derivative / FAILURES
    if not failures:
        path.unlink(missing_ok=True)
        return
    rows = ((one.subject, one.session or "n/a", one.source, one.problem) for one in failures)
    write_table(path, ("participant_id", "session_id", "source", "problem"), rows)


class Finished(NamedTuple):
    """A finished scan, or another contrast of its visit, and its record."""

    subject: str
    session: str
    suffix: str
    record: dict[str, Any]

    @property
    def visit(self) -> str:
        """Common start of the names of the visit's outputs."""
        return "_".join(filter(None, (self.subject, self.session)))


def finished_scans(derivative: Path) -> Iterator[Finished]:
    """Yield the finished scans and contrasts in the order of their names."""
    for sidecar in sorted(derivative.glob(f"sub-*/**/anat/*_space-{SPACE}_desc-preproc_*.json")):
        try:
            record = json.loads(sidecar.read_text(encoding="utf-8"))[RECORD]
        except (OSError, ValueError, KeyError):
            continue
        parts = sidecar.relative_to(derivative).parts
        session = parts[1] if parts[1].startswith("ses-") else ""
        yield Finished(parts[0], session, sidecar.stem.rsplit("_", 1)[1], record)


def flagged_scans(scans: Sequence[Finished]) -> list[list[str]]:
    """List for each scan why it is suspicious, by itself and among those of its contrast."""
    found: dict[int, list[str]] = {}
    for suffix in {scan.suffix for scan in scans}:
        own = {
            str(index): Quality(**scan.record["Quality"]) for index, scan in enumerate(scans) if scan.suffix == suffix
        }
        found |= {int(index): reasons for index, reasons in flags(own, contrast=suffix != T1W).items()}
    return [found[index] for index in range(len(scans))]


def write_quality(derivative: Path) -> dict[str, list[str]]:
    """Write the figures of all finished scans as a table, with the reasons why some are flagged; return the latter."""
    scans = list(finished_scans(derivative))
    flagged = flagged_scans(scans)
    rows = (
        (
            scan.subject,
            scan.session or "n/a",
            scan.suffix,
            *(f"{value:.4g}" for value in Quality(**scan.record["Quality"])),
            "; ".join(reasons) or "n/a",
        )
        for scan, reasons in zip(scans, flagged, strict=True)
    )
    write_table(derivative / QUALITY, ("participant_id", "session_id", "suffix", *Quality._fields, "flagged"), rows)
    return {
        scan.visit if scan.suffix == T1W else f"{scan.visit} {scan.suffix}": reasons
        for scan, reasons in zip(scans, flagged, strict=True)
        if reasons
    }
