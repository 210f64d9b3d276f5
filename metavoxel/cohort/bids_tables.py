"""Read the tables of a BIDS dataset: participants.tsv, and the subjects' sessions.tsv and scans.tsv."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from metavoxel.cohort.identifiers import Matching, match_identifiers, prefixed, some
from metavoxel.cohort.table import read_table
from metavoxel.cohort.visit import SESSION, SUBJECT, UNKNOWN, Visit
from metavoxel.errors import CohortError, Problem
from metavoxel.images.fetched import absence, absences

Row = dict[str, str]
FILENAME = "filename"


@final
@dataclass(frozen=True)
class Records:
    """Rows of a dataset's tables.

    Attributes:
        subjects: rows that apply to all visits of a subject.
        visits: rows of one visit.
        scans: rows of one file, by its path in the dataset.
        places: location of each row, for messages, by visit; without a session, by subject.
        notices: identifiers that were matched although they differ.
    """

    subjects: dict[str, Row]
    visits: dict[Visit, Row]
    scans: dict[str, Row]
    places: dict[Visit, str]
    notices: list[Problem]


class _Line(NamedTuple):
    """A row with its subject, its session as written, and its location."""

    subject: str
    session: str
    row: Row
    place: str


def read_records(participants: Path | None, roots: Sequence[Path], sessions: Mapping[str, Collection[str]]) -> Records:
    """Read a dataset's tables, and match their identifiers to those of its folders.

    Args:
        participants: table with one row per subject, or per session (column ``session_id``); None if there is none.
        roots: folders whose ``sub-*`` folders may hold ``sessions.tsv`` and ``scans.tsv``; earlier take precedence.
        sessions: sessions of each subject with a folder.

    Raises:
        CohortError: tables that are malformed or not fetched, duplicate or ambiguous subjects or sessions.
    """
    records = Records({}, {}, {}, {}, [])
    lines = [] if participants is None else _participants(participants, sessions, records)
    known = sorted({*sessions, *(line.subject for line in lines)})
    visits = {subject: {"", *sessions.get(subject, ())} for subject in known}
    by_session = _present(
        [root / subject / f"{subject}_sessions.tsv" for root in reversed(roots) for subject in known],
        "tables of sessions (sessions.tsv)",
    )
    by_scan = _present(
        [
            root / subject / session / f"{subject}{'_' if session else ''}{session}_scans.tsv"
            for root in reversed(roots)
            for subject in known
            for session in sorted(visits[subject])
        ],
        "tables of scans (scans.tsv)",
    )
    name = participants.name if participants is not None else ""
    joined = _add_visits(records, lines, sessions, name)
    problems: list[Problem] = []
    for path in by_session:
        try:
            joined += _add_visits(records, _session_lines(path), sessions, path.name)
        except CohortError as error:
            problems += error.problems
    if problems:
        raise CohortError(problems)
    for path in by_scan:
        _add_scans(records, path, next(root for root in roots if path.is_relative_to(root)))
    if joined:
        what = f"{len(joined)} differ from their folder names, and were matched ignoring zeros and case: "
        records.notices.append(Problem("sessions in tables", what + some(joined)))
    return records


def _present(paths: Iterable[Path], noun: str) -> list[Path]:
    existing = [path for path in paths if os.path.lexists(path)]
    if unread := absences(existing, noun):
        raise CohortError(Problem("", unread))
    return existing


def _rows(path: Path, column: str) -> tuple[list[Row], Sequence[str]]:
    if os.path.lexists(path) and (reason := absence(path)):
        raise CohortError(Problem(str(path), reason))
    table = read_table(path)
    if column not in table.frame:
        raise CohortError(Problem(str(path), f"no column {column!r}; columns: {', '.join(table.frame.columns)}"))
    return [{str(key): text for key, text in row.items()} for row in table.frame.to_dict("records")], table.places


def _participants(path: Path, sessions: Mapping[str, Collection[str]], records: Records) -> list[_Line]:
    rows, places = _rows(path, SUBJECT)
    matching = match_identifiers("sub-", [row[SUBJECT] for row in rows], sessions)
    problems = [
        Problem(place, f"column {SUBJECT} is empty")
        for row, place in zip(rows, places, strict=True)
        if not row[SUBJECT]
    ] + _ambiguous(matching, path.name)
    if problems:
        raise CohortError(problems)
    if matching.joined:
        what = f"{len(matching.joined)} of {len(matching.found)} subjects differ from their folder names, and "
        what += f"were matched ignoring zeros and case: {_pairs(matching)}"
        records.notices.append(Problem(path.name, what))
    return [
        _Line(matching.found[row[SUBJECT]], row.get(SESSION, ""), row, place)
        for row, place in zip(rows, places, strict=True)
    ]


def _session_lines(path: Path) -> list[_Line]:
    rows, places = _rows(path, SESSION)
    return [_Line(path.parent.name, row[SESSION], row, place) for row, place in zip(rows, places, strict=True)]


def _add_visits(
    records: Records, lines: Sequence[_Line], sessions: Mapping[str, Collection[str]], name: str
) -> list[str]:
    """Add rows by visit; the only row of a subject whose images have no session applies to the subject.

    Returns the sessions that were matched although they are spelled differently.
    """
    counts = Counter(line.subject for line in lines)
    written: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        written[line.subject].append(line.session)
    places: dict[Visit, str] = {}
    problems: list[Problem] = []
    joined: list[str] = []
    matchings = {
        subject: match_identifiers("ses-", labels, sessions.get(subject, ())) for subject, labels in written.items()
    }
    for subject, matching in matchings.items():
        problems += _ambiguous(matching, f"{name} ({subject})")
        joined += [f"{subject} {label} as {found}" for label, found in matching.joined.items()]
    for line in lines:
        alone = counts[line.subject] == 1 and line.subject in sessions and not sessions[line.subject]
        session = "" if alone or line.session in UNKNOWN else matchings[line.subject].found[line.session]
        visit = Visit(line.subject, session)
        if visit in places:
            own = prefixed("sub-", line.row.get(SUBJECT, line.subject))
            aka = "" if own == visit.subject else f"{own} is {visit.subject}: "
            problems.append(Problem(line.place, f"{aka}{visit} is already in {places[visit]}; remove or rename one"))
            continue
        places[visit] = f"{line.place} ({visit.subject})"
        if session:
            records.visits[visit] = _merged(records.visits.get(visit, {}), line.row)
        else:
            records.subjects[visit.subject] = _merged(records.subjects.get(visit.subject, {}), line.row)
    if problems:
        raise CohortError(problems)
    for visit, place in places.items():
        records.places.setdefault(visit, place)
    return joined


def _merged(row: Row, upper: Row) -> Row:
    """Override cells of ``row`` by those of ``upper``; missing cells of ``upper`` only fill absent columns."""
    return row | {column: text for column, text in upper.items() if text not in UNKNOWN or column not in row}


def _add_scans(records: Records, path: Path, root: Path) -> None:
    rows, _ = _rows(path, FILENAME)
    parent = path.parent.relative_to(root).as_posix()
    for row in rows:
        file = f"{parent}/{row[FILENAME].removeprefix('./')}"
        cells = {column: text for column, text in row.items() if column != FILENAME}
        records.scans[file] = _merged(records.scans.get(file, {}), cells)


def _ambiguous(matching: Matching, where: str) -> list[Problem]:
    return [
        Problem(where, f"{label!r} matches {' and '.join(candidates)}; use the name of its folder")
        for label, candidates in matching.ambiguous.items()
    ]


def _pairs(matching: Matching) -> str:
    return some(f"{label} as {found}" for label, found in matching.joined.items())
