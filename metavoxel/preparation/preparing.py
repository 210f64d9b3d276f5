"""Prepare the scans of subjects, resumably: finished work is recognised by its sidecar."""

import importlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, final

import nibabel
import numpy as np
from filelock import FileLock
from jaxtyping import Bool

from metavoxel.images.files import read_image
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.checks import is_stripped, read_head
from metavoxel.preparation.extractors import GIVEN, AbstractExtractor, NoExtraction, make_extractor
from metavoxel.preparation.head import Prepared, Template, load_registration_template, prepare_head
from metavoxel.preparation.outputs import LOCKS, Outputs
from metavoxel.preparation.quality import Quality
from metavoxel.preparation.rigid import read_rigid
from metavoxel.preparation.settings import RECORD, PrepareSettings, file_hash, key_of, versions
from metavoxel.preparation.sources import Failure, Scan
from metavoxel.preparation.strips import strip_path, strips


class Task(NamedTuple):
    """Work of one process: the scans of one subject, baseline first."""

    scans: tuple[Scan, ...]
    dataset: Path
    derivative: Path
    settings: PrepareSettings


class Outcome(NamedTuple):
    """What became of a subject: failures, and the number of scans prepared now and found finished."""

    subject: str
    failures: tuple[Failure, ...]
    prepared: int
    finished: int


@final
class GivenMask(AbstractExtractor):
    """The mask of a file, on the same voxels or moved by headers onto the image's."""

    def __init__(self, path: Path) -> None:
        self.version = f"mask {file_hash(path)}"
        self._path = path

    def extract(self, image: Image) -> Bool[np.ndarray, "x y z"]:
        mask, _ = read_image(self._path, constant=True).onto(image.grid, labels=True)
        if not (mask.data > 0).any():
            raise ValueError(f"{self._path}: the mask is empty on the voxels of its image")
        return mask.data > 0


def prepare_subject(task: Task) -> Outcome:
    """Prepare the scans of one subject, under its lock. Scans that fail cost only themselves.

    A later session is registered to the first that succeeds.

    Raises:
        OSError: the disk is full, or the derivative cannot be written; all else is a failure of the subject.
    """
    _one_thread()
    subject = task.scans[0].subject
    locks = task.derivative / LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    failures: list[Failure] = []
    prepared = finished = 0
    baseline: Outputs | None = None
    with FileLock(locks / f"{subject}.lock"):
        for scan in task.scans:
            outputs = Outputs(task.derivative, scan)
            try:
                done = _prepare_scan(task, outputs, baseline)
            except (ValueError, MemoryError, RuntimeError, np.linalg.LinAlgError) as error:
                outputs.remove()
                text = str(error) or type(error).__name__
                failures.append(Failure(subject, scan.session, _relative(scan.path, task.dataset), _one_line(text)))
                continue
            baseline = baseline or outputs
            prepared, finished = prepared + (not done), finished + done
    return Outcome(subject, tuple(failures), prepared, finished)


def read_prepared(outputs: Outputs) -> Prepared:
    """Read the result of a finished scan.

    Raises:
        ValueError: a file of it is damaged.
    """
    record = outputs.record()
    if record is None:
        raise ValueError(f"{outputs.sidecar}: not a finished scan")
    folder = outputs.derivative
    field = outputs.field if outputs.field in record["Files"] else None
    return Prepared(
        read_image(folder / outputs.image),
        read_image(folder / outputs.mask, constant=True),
        read_image(folder / outputs.native_mask, constant=True),
        None if field is None else _stored(folder / field),
        read_rigid(folder / outputs.transform),
        Quality(**record["Quality"]),
        tuple(record["Notes"]),
    )


def _stored(path: Path) -> Image:
    """Read an image along the axes of its file: the field's voxels are canonical already."""
    file = nibabel.Nifti1Image.from_filename(path)
    return Image(np.asarray(file.dataobj, np.float32), Grid(file.shape, np.asarray(file.affine, np.float64)))


def _prepare_scan(task: Task, outputs: Outputs, baseline: Outputs | None) -> bool:
    """Prepare a scan unless it is finished; return whether it was."""
    try:
        source = file_hash(outputs.scan.path)
    except OSError as error:
        raise ValueError(f"{outputs.scan.path}: cannot be read ({error.strerror})") from error
    earlier = outputs.record()
    known = _record(task, outputs.scan, source, baseline, (earlier or {}).get("Versions", {}).get("extractor", ""))
    if earlier is not None and earlier["Key"] == known["Key"] and _current(task, outputs.scan, earlier):
        return True
    native = read_head(str(outputs.scan.path))
    extractor = _extractor(task.settings, outputs.scan, native)
    record = _record(task, outputs.scan, source, baseline, extractor.version)
    result = prepare_head(
        native,
        extractor,
        _template(),
        spacing=task.settings.spacing,
        bias=task.settings.bias,
        baseline=None if baseline is None else read_prepared(baseline),
    )
    if isinstance(extractor, NoExtraction) and task.settings.extractor != "none":
        result = result._replace(notes=("already without a skull: extraction skipped", *result.notes))
    for step, picture in strips(native, result):
        path = strip_path(task.derivative, outputs.scan.name, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    outputs.write(result, _relative(outputs.scan.path, task.dataset), record)
    return False


def _record(task: Task, scan: Scan, source: str, baseline: Outputs | None, extractor: str) -> dict[str, Any]:
    first = None if baseline is None else json.loads(baseline.sidecar.read_text(encoding="utf-8"))[RECORD]["Key"]
    parts: dict[str, Any] = {
        "Input": source,
        "Settings": task.settings.model_dump(mode="json"),
        "Versions": versions(extractor),
        "Baseline": first,
    }
    return {"Key": key_of(parts), **parts}


def _current(task: Task, scan: Scan, record: dict[str, Any]) -> bool:
    """Whether the extractor that made a record is still the one in use."""
    used = record["Versions"]["extractor"]
    if scan.mask is not None:
        return bool(used == f"mask {file_hash(scan.mask)}")
    return bool(used in (NoExtraction.version, make_cached(task.settings.extractor).version))


def _extractor(settings: PrepareSettings, scan: Scan, native: Image) -> AbstractExtractor:
    if scan.mask is not None:
        return GivenMask(scan.mask)
    if is_stripped(native):
        return NoExtraction()
    return make_cached(settings.extractor)


@cache
def make_cached(name: str) -> AbstractExtractor:
    """Make an extractor once per process: networks take long to load. ``given`` without a mask is none."""
    return NoExtraction() if name == GIVEN else make_extractor(name)


@cache
def _template() -> Template:
    return load_registration_template()


def _one_thread() -> None:
    """Compute on one thread: other processes have the other cores, and the last bits do not depend on their number."""
    with suppress(ImportError):
        importlib.import_module("torch").set_num_threads(1)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _one_line(text: str) -> str:
    return " ".join(text.split())


def subject_tasks(
    scans: dict[str, list[Scan]], dataset: Path, derivative: Path, settings: PrepareSettings
) -> Sequence[Task]:
    """Make one task per subject."""
    return [Task(tuple(of_subject), dataset, derivative, settings) for of_subject in scans.values()]
