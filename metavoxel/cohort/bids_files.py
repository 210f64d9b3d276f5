"""Index the images of a BIDS dataset: those in the subject folders at its root, except ignored ones."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

# .bidsignore has the syntax of .gitignore (BIDS specification, "Validation"); pathspec implements its many rules on
# slashes, ** and !, and is also used by black and DVC.
from pathspec import GitIgnoreSpec

from metavoxel.cohort.entities import BidsFile, parse_name
from metavoxel.cohort.identifiers import some
from metavoxel.errors import CohortError, Problem
from metavoxel.images.fetched import absence
from metavoxel.images.files import NIFTI, PICTURES

DERIVATIVES = "derivatives"
_EXTENSIONS = tuple(sorted((*NIFTI, *PICTURES), key=len, reverse=True))


@final
@dataclass(frozen=True)
class Dataset:
    """Images, subject folders and session folders of one BIDS folder, raw or derivative.

    Attributes:
        folder: the root.
        files: images with a BIDS name in ``sub-*/[ses-*/][datatype/]``, sorted by path.
        sessions: ``ses-*`` folders of each ``sub-*`` folder.
        notices: images left out because of their names.
    """

    folder: Path
    files: tuple[BidsFile, ...]
    sessions: dict[str, tuple[str, ...]]
    notices: tuple[Problem, ...]


def index_dataset(folder: Path) -> Dataset:
    """Find the images of a BIDS folder from folder and file names, without opening any image.

    Only the subject folders at its root are searched, not ``sourcedata``, ``derivatives``, ``code`` or nested datasets.
    Names that start with a dot (git, or ``._`` of macOS) and entries of ``.bidsignore`` are skipped.

    Raises:
        CohortError: no such folder, or an unreadable folder or ``.bidsignore``.
    """
    if not folder.is_dir():
        raise CohortError(Problem(str(folder), "no such folder" if not folder.exists() else "a file, not a folder"))
    try:
        return _indexed(folder, _ignored(folder))
    except OSError as error:
        raise CohortError(Problem(str(folder), f"cannot be searched: {error}")) from error


def _indexed(folder: Path, ignored: GitIgnoreSpec) -> Dataset:
    files: list[BidsFile] = []
    sessions: dict[str, tuple[str, ...]] = {}
    misnamed: list[str] = []
    misplaced: list[str] = []
    for subject in _folders(folder, "", "sub-", ignored):
        sessions[subject] = tuple(_folders(folder, f"{subject}/", "ses-", ignored))
        for parent in (subject, *(f"{subject}/{session}" for session in sessions[subject])):
            for path, datatype in _images(folder, parent):
                if ignored.match_file(path):
                    continue
                name = path.rsplit("/", 1)[-1]
                extension = next(ending for ending in _EXTENSIONS if name.lower().endswith(ending))
                entities = parse_name(name[: -len(extension)])
                if entities is None or "sub" not in entities:
                    misnamed.append(path)
                    continue
                place = dict(part.split("-", 1) for part in parent.split("/"))
                if any(entities.setdefault(key, label) != label for key, label in place.items()):
                    misplaced.append(path)
                    continue
                files.append(BidsFile(path, entities | {"extension": extension, "datatype": datatype}))
    notices = [
        Problem(str(folder), f"{len(paths)} images are left out because {why}: {some(paths)}")
        for paths, why in (
            (misnamed, "they have no BIDS name (sub-LABEL_..._SUFFIX)"),
            (misplaced, "their names and folders differ in subject or session"),
        )
        if paths
    ]
    return Dataset(folder, tuple(sorted(files)), sessions, tuple(notices))


def derivative_names(folder: Path) -> list[str]:
    """List the folders in a dataset's ``derivatives``."""
    root = folder / DERIVATIVES
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []


def raw_dataset(folder: Path) -> Path | None:
    """Return the dataset of a folder inside ``derivatives``; None for any other folder."""
    parents = folder.absolute().parents
    return next((parent.parent for parent in parents if parent.name == DERIVATIVES), None)


def _ignored(folder: Path) -> GitIgnoreSpec:
    path = folder / ".bidsignore"
    # Not applied to a derivative, where it lists files unknown to the raw-data validator (fMRIPrep's *_boldref.nii.gz).
    if not os.path.lexists(path) or _is_derivative(folder):
        return GitIgnoreSpec.from_lines([])
    if absent := absence(path):
        raise CohortError(Problem(str(path), absent))
    try:
        return GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise CohortError(Problem(str(path), f"not a list of patterns as in .gitignore: {error}")) from error


def _is_derivative(folder: Path) -> bool:
    if raw_dataset(folder) is not None:
        return True
    try:
        description = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(description, dict) and description.get("DatasetType") == "derivative"


def _folders(root: Path, parent: str, prefix: str, ignored: GitIgnoreSpec) -> list[str]:
    """List folders below ``parent`` with a prefix, including links to folders, that are not ignored."""
    with os.scandir(root / parent) as entries:
        names = sorted(entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_dir())
    return [name for name in names if not ignored.match_file(f"{parent}{name}/")]


def _images(root: Path, parent: str) -> Iterator[tuple[str, str]]:
    """Yield (path, datatype) of the images in a subject or session folder and its datatype folders."""
    with os.scandir(root / parent) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    for name, is_folder in found:
        if not is_folder:
            if name.lower().endswith(_EXTENSIONS):
                yield f"{parent}/{name}", ""
        elif not name.startswith("ses-"):
            with os.scandir(root / parent / name) as inner:
                names = [entry.name for entry in inner]
            for file in sorted(names):
                if file.lower().endswith(_EXTENSIONS) and not file.startswith("."):
                    yield f"{parent}/{name}/{file}", name
