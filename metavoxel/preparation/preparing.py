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
import PIL.Image
from filelock import FileLock
from jaxtyping import Bool

from metavoxel.images.files import read_image
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.preparation.checks import is_stripped, read_head
from metavoxel.preparation.contrasts import prepare_contrast
from metavoxel.preparation.extractors import GIVEN, AbstractExtractor, NoExtraction, make_extractor
from metavoxel.preparation.head import Prepared, Template, load_registration_template, prepare_head
from metavoxel.preparation.outputs import LOCKS, Outputs
from metavoxel.preparation.quality import Quality
from metavoxel.preparation.rigid import read_rigid
from metavoxel.preparation.settings import RECORD, PrepareSettings, file_hash, key_of, versions
from metavoxel.preparation.sources import Contrast, Failure, Scan
from metavoxel.preparation.strips import registered_strip, strip_path, strips

_FAILURES = (ValueError, MemoryError, RuntimeError, np.linalg.LinAlgError)
"""Errors that cost a scan alone."""


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
            contrasts = [Outputs(task.derivative, scan, contrast.suffix) for contrast in scan.contrasts]
            try:
                done = _prepare_scan(task, outputs, baseline)
            except _FAILURES as error:
                for each in (outputs, *contrasts):
                    each.remove()
                failures.append(_failure(task, scan, scan.path, error))
                continue
            baseline = baseline or outputs
            prepared, finished = prepared + (not done), finished + done
            for contrast, other in zip(scan.contrasts, contrasts, strict=True):
                try:
                    done = _prepare_contrast(task, contrast, other, outputs)
                except _FAILURES as error:
                    other.remove()
                    failures.append(_failure(task, scan, contrast.path, error))
                    continue
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
    source = _hash(outputs.scan.path)
    earlier = outputs.record()
    known = _record(task, outputs.scan, source, baseline, versions_of(outputs))
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
        _save_picture(picture, strip_path(task.derivative, outputs.scan.name, step))
    outputs.write(result, _relative(outputs.scan.path, task.dataset), record)
    return False


def _prepare_contrast(task: Task, contrast: Contrast, outputs: Outputs, first: Outputs) -> bool:
    """Prepare an image of another contrast by the finished T1w of its visit; return whether it was finished."""
    record = _record(task, outputs.scan, _hash(contrast.path), first, versions_of(first))
    earlier = outputs.record()
    if earlier is not None and earlier["Key"] == record["Key"]:
        return True
    native, head = read_head(str(contrast.path)), read_head(str(outputs.scan.path))
    result = prepare_contrast(native, head, read_prepared(first), bias=task.settings.bias)
    _save_picture(registered_strip(result), strip_path(task.derivative, outputs.scan.name, contrast.suffix))
    outputs.write(result, _relative(contrast.path, task.dataset), record)
    return False


def versions_of(outputs: Outputs) -> str:
    """Return the extractor's version of a finished scan."""
    return str((outputs.record() or {}).get("Versions", {}).get("extractor", ""))


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error


def _save_picture(picture: PIL.Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _failure(task: Task, scan: Scan, path: Path, error: Exception) -> Failure:
    text = " ".join((str(error) or type(error).__name__).split())
    return Failure(scan.subject, scan.session, _relative(path, task.dataset), text)


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


def subject_tasks(
    scans: dict[str, list[Scan]], dataset: Path, derivative: Path, settings: PrepareSettings
) -> Sequence[Task]:
    """Make one task per subject."""
    return [Task(tuple(of_subject), dataset, derivative, settings) for of_subject in scans.values()]
