"""Leave out the scans that raters dropped in visual quality control (``qa.tsv`` of ``metavoxel qa``)."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from metavoxel.cohort.identifiers import prefixed, some
from metavoxel.cohort.table import Table, read_table
from metavoxel.cohort.visit import SESSION, SUBJECT, UNKNOWN, Visit
from metavoxel.errors import CohortError, Problem
from metavoxel.schema.settings import CohortSettings

COLUMNS = (SUBJECT, SESSION, "rater", "decision", "note", "output", "time")
"""Columns of the table: one row per scan and rater. ``output`` is the hash of the image that was looked at."""

DROP = "drop"


def without_dropped(table: Table, settings: CohortSettings, folder: Path) -> Table:
    """Leave out the rows of scans that at least half of their raters dropped, and list them in a notice.

    Decisions on another version of an image than the one in the derivative are ignored, and listed too.

    Raises:
        CohortError: the table of decisions cannot be read.
    """
    if settings.qa is None or settings.subject not in table.frame:
        return table
    path = folder / settings.qa
    dropped, outdated = _dropped(path)
    sessions = table.frame[SESSION] if SESSION in table.frame else [""] * len(table.frame)
    visits = [
        Visit(prefixed("sub-", str(subject)), prefixed("ses-", "" if str(session) in UNKNOWN else str(session)))
        for subject, session in zip(table.frame[settings.subject], sessions, strict=True)
    ]
    kept = [row for row, visit in enumerate(visits) if visit not in dropped]
    found = sorted({str(visit) for visit in visits if visit in dropped})
    notices = list(table.notices)
    if found:
        notices.append(Problem(str(path), f"{len(visits) - len(kept)} rows were dropped by raters: {some(found)}"))
    if outdated:
        what = f"decisions on {len(outdated)} scans are ignored, since the images have been prepared again: "
        notices.append(Problem(str(path), f"{what}{some(outdated)}. Look at them again: metavoxel qa {path.parent}"))
    frame = table.frame.iloc[kept].reset_index(drop=True)
    return replace(table, frame=frame, places=[table.places[row] for row in kept], notices=tuple(notices))


def _dropped(path: Path) -> tuple[set[Visit], list[str]]:
    table = read_table(path)
    absent = [column for column in COLUMNS if column not in table.frame]
    if absent:
        what = f"no column {absent[0]!r}; a table of metavoxel qa has {', '.join(COLUMNS)}"
        raise CohortError(Problem(str(path), what))
    votes: dict[Visit, list[bool]] = defaultdict(list)
    outdated = set()
    for row in table.frame.to_dict("records"):
        visit = Visit(row[SUBJECT], "" if row[SESSION] in UNKNOWN else row[SESSION])
        if _current_output(path.parent, visit) not in (None, row["output"]):
            outdated.add(str(visit))
        else:
            votes[visit].append(row["decision"] == DROP)
    return {visit for visit, found in votes.items() if 2 * sum(found) >= len(found)}, sorted(outdated)


def _current_output(derivative: Path, visit: Visit) -> str | None:
    """Hash of a scan's image by its sidecar; None where the table is not in its derivative."""
    folder = derivative / visit.subject / visit.session / "anat"
    for sidecar in sorted(folder.glob("*_desc-preproc_T1w.json")):
        try:
            return str(json.loads(sidecar.read_text(encoding="utf-8"))["Preparation"]["Output"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
