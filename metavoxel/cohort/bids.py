"""BIDS folders as tables: one row for every subject, or for every session of one."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas
from ancpbids import DatasetOptions, load_dataset

from metavoxel.cohort.table import Table, read_table
from metavoxel.errors import CohortError, Problem, did_you_mean
from metavoxel.images.files import NIFTI, PICTURES
from metavoxel.variables.base import AbstractVariableSpec
from metavoxel.variables.image import ImageSpec

SUBJECT = "participant_id"
SESSION = "session_id"
_FILE_PROPERTIES = ("suffix", "extension")
_UNKNOWN = ("", "n/a")
"""Cells that say nothing, by the BIDS specification."""


class _Visit(NamedTuple):
    subject: str
    session: str


class _File(NamedTuple):
    path: str
    entities: dict[str, str]


def read_bids(folder: Path, variables: Mapping[str, AbstractVariableSpec]) -> Table:
    """The subjects of a BIDS folder with what its tables say of them, and the files of its image variables.

    Columns are those of ``participants.tsv``, then those of the subjects' ``sessions.tsv`` (which come first where both
    have one), and one for each image variable that has neither ``path`` nor ``column``: its file, chosen by entities
    among the raw data. Subjects without a file are kept, with an empty cell.

    Raises:
        CohortError: no such folder, unknown entities, no file or several for one visit, or a broken table.
    """
    if not folder.is_dir():
        raise CohortError(Problem(str(folder), "no such folder"))
    chosen = {
        name: {"suffix": "T1w", **spec.entities}
        for name, spec in variables.items()
        if isinstance(spec, ImageSpec) and spec.path is None and spec.column is None
    }
    images, problems = _images(folder, chosen) if chosen else ({}, [])
    participants, places = _participants(folder)
    problems += [
        Problem("participants.tsv", f"column {name!r} has the name of an image variable; set its 'column' or 'path'")
        for name in chosen
        if any(name in row for row in participants.values())
    ]
    if problems:
        raise CohortError(problems)
    sessions = _sessions(folder, {visit.subject for visit in images} | set(participants))
    visits = _visits(images, participants, sessions)
    if not visits:
        raise CohortError(Problem(str(folder), "no usable rows: neither participants.tsv nor an image names a subject"))
    with_sessions = any(visit.session for visit in visits)
    rows = []
    for visit in visits:
        row = {SUBJECT: visit.subject} | ({SESSION: visit.session} if with_sessions else {})
        row |= participants.get(visit.subject, {})
        row |= {
            column: text
            for column, text in sessions.get(visit, {}).items()
            if text not in _UNKNOWN or column not in row
        }
        row |= {name: images.get(visit, {}).get(name, "") for name in chosen}
        rows.append(row | {SUBJECT: visit.subject} | ({SESSION: visit.session} if with_sessions else {}))
    frame = pandas.DataFrame(rows, dtype=str).fillna("")
    labels = [f"{places.get(visit.subject, folder.name)} {visit.session}".rstrip() for visit in visits]
    return Table(frame, folder, "participants.tsv" if participants else folder.name, labels)


def _visits(
    images: Mapping[_Visit, object], participants: Mapping[str, object], sessions: Mapping[_Visit, object]
) -> list[_Visit]:
    """Those with images or a row in a sessions table, and subjects that participants.tsv alone knows."""
    visits = set(images) | set(sessions)
    visits |= {_Visit(subject, "") for subject in set(participants) - {visit.subject for visit in visits}}
    return sorted(visits)


def _images(
    folder: Path, chosen: Mapping[str, Mapping[str, str]]
) -> tuple[dict[_Visit, dict[str, str]], list[Problem]]:
    # A dataset may carry a pickle of its index, which must not be opened.
    dataset = load_dataset(str(folder), DatasetOptions(ignore_pickle_file=True))
    schema = dataset.get_schema()
    assert schema is not None, "a dataset that was loaded has the schema it was loaded with"
    short = {entity.name: entity.value["name"] for entity in schema.EntityEnum}
    files = list(_files(dataset))
    images: dict[_Visit, dict[str, str]] = defaultdict(dict)
    problems: list[Problem] = []
    for name, wanted in chosen.items():
        known = [*_FILE_PROPERTIES, *short, *short.values()]
        unknown = [entity for entity in wanted if entity not in known]
        if unknown:
            problems += [
                Problem(f"variables.{name}.entities", f"{entity!r} is not a BIDS entity.{did_you_mean(entity, known)}")
                for entity in unknown
            ]
            continue
        by_visit: dict[_Visit, list[str]] = defaultdict(list)
        for file in files:
            if all(_same(file.entities.get(short.get(entity, entity)), text) for entity, text in wanted.items()):
                session = file.entities.get("ses")
                visit = _Visit(f"sub-{file.entities['sub']}", f"ses-{session}" if session else "")
                by_visit[visit].append(file.path)
        asked = ", ".join(f"{entity}: {text}" for entity, text in wanted.items())
        if not by_visit:
            suffixes = sorted({file.entities["suffix"] for file in files})
            what = f"no image with {{{asked}}}; the folder has images with suffix {', '.join(suffixes) or 'of no kind'}"
            problems.append(Problem(f"{folder}, variable {name}", what))
        for visit, paths in by_visit.items():
            if len(paths) > 1:
                what = f"{len(paths)} images with {{{asked}}}: {', '.join(paths)}; add entities that tell them apart"
                where = f"{folder} {visit.subject} {visit.session}".rstrip()
                problems.append(Problem(f"{where}, variable {name}", what))
            images[visit][name] = paths[0]
    return dict(images), problems


def _files(dataset: object) -> Iterator[_File]:
    """Raw images that name a subject, with all that their names say."""
    artifacts = dataset.query(scope="raw", extension=[*NIFTI, *PICTURES], return_type="object")  # type: ignore[attr-defined]
    for artifact in artifacts:
        entities = {key: str(value) for key, value in artifact.entities.items()}
        if "sub" in entities:
            properties = {"suffix": str(artifact.suffix), "extension": str(artifact.extension)}
            yield _File(artifact.get_relative_path(), entities | properties)


def _same(found: str | None, wanted: str) -> bool:
    """Indices match as numbers: run 1 is run-01."""
    if found is None:
        return False
    return found == wanted or (found.isdigit() and wanted.isdigit() and int(found) == int(wanted))


def _prefixed(prefix: str, label: str) -> str:
    return label if label.startswith(prefix) or not label else prefix + label


def _participants(folder: Path) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Rows of participants.tsv by subject, and where each is."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return {}, {}
    table = read_table(path)
    if SUBJECT not in table.frame:
        raise CohortError(Problem(str(path), f"no column {SUBJECT!r}; columns: {', '.join(table.frame.columns)}"))
    rows: dict[str, dict[str, str]] = {}
    places: dict[str, str] = {}
    problems = []
    for row, place in zip(table.frame.to_dict("records"), table.places, strict=True):
        subject = _prefixed("sub-", row[SUBJECT])
        if not subject or subject in rows:
            what = f"{subject} is already in {places[subject]}" if subject else f"column {SUBJECT} is empty"
            problems.append(Problem(place, what))
            continue
        rows[subject], places[subject] = {str(column): text for column, text in row.items()}, f"{place} ({subject})"
    if problems:
        raise CohortError(problems)
    return rows, places


def _sessions(folder: Path, subjects: set[str]) -> dict[_Visit, dict[str, str]]:
    """Rows of the subjects' own sessions.tsv."""
    found = {}
    for subject in sorted(subjects):
        path = folder / subject / f"{subject}_sessions.tsv"
        if path.is_file():
            frame = read_table(path).frame
            if SESSION not in frame:
                raise CohortError(Problem(str(path), f"no column {SESSION!r}; columns: {', '.join(frame.columns)}"))
            for row in frame.to_dict("records"):
                visit = _Visit(subject, _prefixed("ses-", row[SESSION]))
                found[visit] = {str(column): text for column, text in row.items()}
    return found
