"""Read a BIDS folder as a table with one row per subject, or per session."""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pandas

from metavoxel.cohort.bids_files import raw_dataset
from metavoxel.cohort.bids_images import Images, choose_images
from metavoxel.cohort.bids_tables import Records, Row, read_records
from metavoxel.cohort.identifiers import some
from metavoxel.cohort.table import Table
from metavoxel.cohort.visit import SESSION, SUBJECT, UNKNOWN, Visit
from metavoxel.errors import CohortError, Problem
from metavoxel.parts.variables.base import AbstractVariableSpec

_PARTICIPANTS = "participants.tsv"


def read_bids(
    folder: Path, variables: Mapping[str, AbstractVariableSpec], *, participants: Path | None = None
) -> Table:
    """Read a BIDS folder as a table: the cells of its TSV files, and the paths of its image variables.

    Columns come from ``participants.tsv``, the subjects' ``sessions.tsv`` and their ``scans.tsv``; cells of a later one
    take precedence. Each image variable with neither ``path`` nor ``column`` adds a column with its file, selected by
    entities. Subjects without a file are kept, with an empty cell. Table identifiers are matched to folder names,
    ignoring leading zeros and case where that is unambiguous; ``notices`` lists such matches.

    Args:
        folder: a raw dataset, or a derivative.
        variables: settings by name.
        participants: table of the subjects, instead of the folder's ``participants.tsv``; a folder inside
            ``derivatives`` without one uses that of its dataset.

    Raises:
        CohortError: no such folder, unknown entities, no file or several for one visit, content that is not fetched,
            a malformed table, ambiguous identifiers, or no subject with both a table row and an image.
    """
    chosen = {name: entities for name, spec in variables.items() if (entities := spec.bids_entities()) is not None}
    unusable = {name: found for name in chosen if (found := variables[name].bids_problems())}
    images = choose_images(folder, {name: wanted for name, wanted in chosen.items() if name not in unusable})
    problems, notices = list(images.problems), list(images.notices)
    problems += [Problem(f"variables.{name}.entities", what) for name, found in unusable.items() for what in found]
    raw = raw_dataset(folder)
    if participants is None:
        participants = folder / _PARTICIPANTS
        if raw is not None and not os.path.lexists(participants) and os.path.lexists(raw / _PARTICIPANTS):
            participants = raw / _PARTICIPANTS
            notices.append(Problem(str(folder), f"has no {_PARTICIPANTS}; using that of its dataset, {participants}"))
        elif not os.path.lexists(participants):
            participants = None
    try:
        records = read_records(participants, [folder, *([raw] if raw is not None else [])], images.sessions)
    except CohortError as error:
        raise CohortError([*problems, *error.problems]) from error
    problems += _name_clashes(chosen, records)
    if problems:
        raise CohortError(problems)
    visits = _visits(images.paths, records)
    if not visits:
        raise CohortError(Problem(str(folder), f"no usable rows: neither {_PARTICIPANTS} nor an image names a subject"))
    notices += records.notices
    if chosen and participants is not None:
        notices += _unmatched_subjects(participants.name, records, images)
    if chosen and records.visits:
        notices += _unmatched_sessions(folder, records, images)
    others = {name: spec for name, spec in variables.items() if name not in chosen}
    needed = {column for name, spec in others.items() for column in spec.required_columns(name)}
    scans = _by_visit(records.scans)
    with_sessions = any(visit.session for visit in visits)
    rows = []
    for visit in visits:
        own = {SUBJECT: visit.subject} | ({SESSION: visit.session} if with_sessions else {})
        paths = images.paths.get(visit, {})
        cells, conflicts = _scan_cells(
            visit,
            [records.scans[path] for path in paths.values() if path in records.scans] or scans.get(visit, []),
            needed,
        )
        problems += conflicts
        row = own | records.subjects.get(visit.subject, {})
        for upper in (records.visits.get(visit, {}), cells):
            row |= {column: text for column, text in upper.items() if text not in UNKNOWN or column not in row}
        rows.append(row | {name: paths.get(name, "") for name in chosen} | own)
    if problems:
        raise CohortError(problems)
    frame = pandas.DataFrame(rows, dtype=str).fillna("")
    source = folder.name if participants is None else participants.name
    return Table(frame, folder, source, [_place(visit, records, folder) for visit in visits], tuple(notices))


def _visits(images: Iterable[Visit], records: Records) -> list[Visit]:
    """Collect visits with an image or a session row, and subjects found in participants.tsv only."""
    visits = {*images, *records.visits}
    visits |= {Visit(subject, "") for subject in set(records.subjects) - {visit.subject for visit in visits}}
    return sorted(visits)


def _place(visit: Visit, records: Records, folder: Path) -> str:
    subject = records.places.get(Visit(visit.subject, ""))
    place = subject or records.places.get(visit) or folder.name
    return f"{place} {visit.session}".rstrip()


def _name_clashes(chosen: Collection[str], records: Records) -> list[Problem]:
    return [
        Problem(place, f"column {name!r} has the name of an image variable; set its 'column' or 'path'")
        for name in chosen
        for place, rows in (
            (_PARTICIPANTS, records.subjects.values()),
            ("session tables", records.visits.values()),
            ("scans.tsv", records.scans.values()),
        )
        if any(name in row for row in rows)
    ]


def _unmatched_subjects(name: str, records: Records, images: Images) -> list[Problem]:
    """Report subjects of the table without an image, and the reverse; raise if no subject has both."""
    listed = {*records.subjects, *(visit.subject for visit in records.visits)}
    imaged = {visit.subject for visit in images.paths}
    if listed and imaged and not listed & imaged:
        what = f"no subject of this table has an image: the table has {some(listed)} ({len(listed)} subjects), images "
        what += f"are of {some(imaged)} ({len(imaged)} subjects). Identifiers must match the folder names"
        raise CohortError(Problem(name, what))
    return _unmatched_notice(
        name,
        (listed - imaged, len(listed), "subjects of the table have no image"),
        (imaged - listed, len(imaged), "subjects with images are not in the table"),
    )


def _unmatched_sessions(folder: Path, records: Records, images: Images) -> list[Problem]:
    """Same for visits, where tables have one row per session; compares only subjects with both rows and images."""
    subjects = {visit.subject for visit in records.visits} & {visit.subject for visit in images.paths}
    listed = {visit for visit in records.visits if visit.subject in subjects}
    imaged = {visit for visit in images.paths if visit.subject in subjects}
    if listed and imaged and not listed & imaged:
        what = f"no row of the session tables has an image: the tables have {some(map(str, listed))}, images are of "
        raise CohortError(
            Problem(str(folder), what + f"{some(map(str, imaged))}. Session labels must match the folder names")
        )
    return _unmatched_notice(
        str(folder),
        ({*map(str, listed - imaged)}, len(listed), "sessions of the tables have no image"),
        ({*map(str, imaged - listed)}, len(imaged), "sessions with images have no row in the session tables"),
    )


def _unmatched_notice(where: str, *sides: tuple[set[str], int, str]) -> list[Problem]:
    """Format one notice of the names found on one side only, with counts and examples."""
    without = [f"{len(names)} of {total} {what}: {some(names)}" for names, total, what in sides if names]
    return [Problem(where, "; ".join(without) + ". Their rows have missing cells")] if without else []


def _by_visit(scans: Mapping[str, Row]) -> dict[Visit, list[Row]]:
    found: dict[Visit, list[Row]] = {}
    for path, row in scans.items():
        folders = path.split("/")
        session = folders[1] if folders[1].startswith("ses-") else ""
        found.setdefault(Visit(folders[0], session), []).append(row)
    return found


def _scan_cells(visit: Visit, rows: Iterable[Row], needed: Collection[str]) -> tuple[Row, list[Problem]]:
    """Merge the rows of a visit's files; differing cells of a column become empty, and are reported if needed."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        for column, text in row.items():
            known = cells.setdefault(column, [])
            if text not in UNKNOWN and text not in known:
                known.append(text)
    problems = [
        Problem(
            f"scans.tsv of {visit}, column {column}",
            f"its files have different cells ({some(texts)}), but a row holds one; move the column to sessions.tsv",
        )
        for column, texts in cells.items()
        if len(texts) > 1 and column in needed
    ]
    return {column: texts[0] if len(texts) == 1 else "" for column, texts in cells.items()}, problems
