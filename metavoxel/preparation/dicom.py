"""Convert DICOM series to NIfTI by dcm2niix, one T1w per subject and session; localisers and others are left out."""

import fnmatch
import hashlib
import importlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from metavoxel.errors import CohortError, Problem
from metavoxel.images.files import is_nifti, read_header
from metavoxel.preparation.checks import geometry_problems
from metavoxel.preparation.settings import T1W, key_of
from metavoxel.preparation.sources import Failure
from metavoxel.storage.atomic import write_text

_LOCALISER = re.compile(r"localizer|localiser|scout|survey|(^|[^a-z])loc([^a-z]|$)", re.IGNORECASE)
_T1W = re.compile(r"t1|mp2?rage|spgr|bravo|tfl|tfe", re.IGNORECASE)
_PREAMBLE = 128
"""Bytes before the letters DICM of a DICOM file."""
_SECONDS = 1800.0
"""Longest time of one conversion."""


class Visit(NamedTuple):
    """Folder of the DICOM files of a subject, or one of its sessions (empty without); with their prefixes."""

    subject: str
    session: str
    folder: Path

    @property
    def target(self) -> Path:
        """The T1w, relative to the folder of converted images."""
        name = "_".join(filter(None, (self.subject, self.session, f"{T1W}.nii.gz")))
        return Path(self.subject, *filter(None, (self.session,)), "anat", name)


class Converted(NamedTuple):
    """Visits that could not be converted, and series that were left out, as text with the reason."""

    failures: list[Failure]
    left_out: list[str]


class _Series(NamedTuple):
    name: str
    path: Path


def dicom_visits(folder: Path) -> list[Visit]:
    """Find the visits in a folder of DICOM files; empty if there are none, or NIfTI files right in it.

    Each folder in it is a subject, and each folder ``ses-*`` in that a session. Files right in it are of one subject,
    named as the folder.
    """
    if not folder.is_dir() or any(map(is_nifti, _files(folder))):
        return []
    if any(map(_is_dicom, _files(folder))):
        return [Visit(f"sub-{_label(folder.resolve().name)}", "", folder)]
    found = []
    for subject in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        label = f"sub-{_label(subject.name.removeprefix('sub-'))}"
        sessions = sorted(path for path in subject.glob("ses-*") if path.is_dir())
        places = [(f"ses-{_label(path.name.removeprefix('ses-'))}", path) for path in sessions] or [("", subject)]
        found += [Visit(label, session, path) for session, path in places if _holds_dicom(path)]
    return found


def convert_visits(visits: list[Visit], output: Path, series: str | None) -> Converted:
    """Convert the T1w of each visit into a BIDS folder. Visits whose files are unchanged are kept.

    Args:
        visits: what to convert.
        output: folder of the converted images; subjects in it that are no visit are removed.
        series: pattern of the description of the series to take (``*mprage*``), where a visit has several.

    Raises:
        CohortError: dcm2niix is missing, or two folders have one label.
    """
    try:
        program = importlib.import_module("dcm2niix").bin
    except ImportError as error:
        raise CohortError(Problem("DICOM", 'series need dcm2niix: pip install "metavoxel[prepare]"')) from error
    targets = [visit.target for visit in visits]
    if twice := next((visit for visit in visits if targets.count(visit.target) > 1), None):
        what = f"another folder also has the label {twice.subject} {twice.session}".rstrip()
        raise CohortError(Problem(str(twice.folder), f"{what} (letters and digits of its name); rename one"))
    for old in output.glob("sub-*"):
        if old.name not in {visit.subject for visit in visits}:
            shutil.rmtree(old)
    failures, left_out = [], []
    for visit in visits:
        target = output / visit.target
        record = target.with_name(target.name.replace(".nii.gz", "_series.txt"))
        key = key_of({"files": _listing(visit.folder), "series": series, "program": Path(program).stat().st_size})
        kept = record.read_text(encoding="utf-8").splitlines() if record.is_file() and target.is_file() else []
        if kept[:1] != [key]:
            for path in (target, record):
                path.unlink(missing_ok=True)
            try:
                kept = [key, *_convert(program, visit, target, series)]
            except ValueError as error:
                failures.append(Failure(visit.subject, visit.session, str(visit.folder), str(error)))
                continue
            write_text(record, "\n".join(kept) + "\n")
        left_out += [f"{visit.subject} {visit.session}".rstrip() + f": {line}" for line in kept[1:]]
    return Converted(failures, left_out)


def _convert(program: str, visit: Visit, target: Path, series: str | None) -> list[str]:
    """Convert a visit and keep its T1w; return the series that were left out.

    Raises:
        ValueError: there is no T1w, or several.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-b", "y", "-ba", "y", "-z", "i", "-f", "%s_%d", "-o", folder, str(visit.folder)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise ValueError(f"dcm2niix took longer than {_SECONDS / 60:.0f} minutes") from None
        found = [_Series(_name(path), path) for path in sorted(Path(folder).glob("*.nii.gz"))]
        if not found:
            last = " ".join(ran.stdout.split()[-20:])
            raise ValueError(f"dcm2niix converted no series: {last}")
        left_out = {one: reason for one in found if (reason := _unusable(one))}
        usable = [one for one in found if one not in left_out]
        chosen = [one for one in usable if series is None or fnmatch.fnmatchcase(one.name.lower(), series.lower())]
        if series is None and len(chosen) > 1:
            chosen = [one for one in chosen if _T1W.search(one.name)] or chosen
        lines = [f"left out {one.name!r}: {reason}" for one, reason in left_out.items()]
        if len(chosen) != 1:
            what = f"{len(chosen)} series that may be its T1w" if chosen else "no series that may be its T1w"
            names = ", ".join(repr(one.name) for one in (chosen or usable))
            advice = f". Series: {names}; choose one by `series`" if names else ""
            raise ValueError("; ".join([what + advice, *lines]))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(chosen[0].path.with_name(chosen[0].path.name.replace(".nii.gz", ".json")), _sidecar(target))
        shutil.copyfile(chosen[0].path, target)
        return lines + [f"left out {one.name!r}: not the T1w" for one in usable if one != chosen[0]]


def _unusable(series: _Series) -> str:
    """Explain why a series cannot be the T1w; empty if it can."""
    if _LOCALISER.search(series.name):
        return "a localiser by its name"
    try:
        problems = geometry_problems(read_header(series.path))
    except ValueError as error:
        return str(error).removeprefix(f"{series.path}: ")
    return "; ".join(problems)


def _name(path: Path) -> str:
    """Description of a series; else its protocol, or the number that dcm2niix gave it."""
    try:
        content = json.loads(_sidecar(path).read_text(encoding="utf-8"))
        return str(content.get("SeriesDescription") or content.get("ProtocolName") or path.name)
    except (OSError, ValueError, AttributeError):
        return path.name


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.replace(".nii.gz", ".json"))


def _listing(folder: Path) -> str:
    """Digest of names, sizes and times of the files of a folder."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        state = path.stat()
        digest.update(f"{path.relative_to(folder)}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))


def _holds_dicom(folder: Path) -> bool:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return any(map(_is_dicom, files))


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(_PREAMBLE)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def _label(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text) or "x"
