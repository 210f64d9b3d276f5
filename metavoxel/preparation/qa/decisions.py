"""The table of decisions: one row per scan and rater, each written at once and whole."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, final

from filelock import FileLock

from metavoxel.cohort.table import read_table
from metavoxel.cohort.visual_qa import COLUMNS
from metavoxel.errors import CohortError, Problem
from metavoxel.preparation.outputs import LOCKS
from metavoxel.preparation.tables import write_table

TABLE = "qa.tsv"
CHOICES = ("keep", "drop", "flag")
_NONE = "n/a"


class Decision(NamedTuple):
    """What one rater decided on one scan; fields as the columns of the table."""

    participant_id: str
    session_id: str
    rater: str
    decision: str
    note: str
    output: str
    time: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Scan and rater."""
        return self.participant_id, self.session_id, self.rater


@final
class Decisions:
    """``qa.tsv`` of a derivative. Several processes and raters may write at once: each change holds a lock."""

    def __init__(self, derivative: Path) -> None:
        self.path = derivative / TABLE
        self._lock = FileLock(derivative / LOCKS / "qa.lock")
        (derivative / LOCKS).mkdir(exist_ok=True)

    def read(self) -> list[Decision]:
        """Read all decisions, in the order of the table.

        Raises:
            CohortError: the table cannot be read, lacks columns, or has a decision of another name.
        """
        if not self.path.exists():
            return []
        try:
            table = read_table(self.path)
        except CohortError as error:
            raise CohortError([Problem(one.where, f"{one.what}. {self._remedy}") for one in error.problems]) from error
        absent = [column for column in COLUMNS if column not in table.frame]
        if absent:
            what = f"no column {absent[0]!r}; a table of metavoxel qa has {', '.join(COLUMNS)}. {self._remedy}"
            raise CohortError(Problem(str(self.path), what))
        rows = [
            Decision(*("" if row[column] == _NONE else row[column] for column in COLUMNS))
            for row in table.frame.to_dict("records")
        ]
        problems = [
            Problem(
                f"{self.path} ({one.participant_id}, rater {one.rater}), column decision",
                f"{one.decision!r} is none of {', '.join(CHOICES)}. {self._remedy}",
            )
            for one in rows
            if one.decision not in CHOICES
        ]
        if problems:
            raise CohortError(problems)
        return rows

    @property
    def _remedy(self) -> str:
        return f"Correct it, or move the file away to begin anew: mv {self.path} {self.path.with_suffix('.old.tsv')}"

    def record(self, scan: tuple[str, str], output: str, rater: str, decision: str | None, note: str) -> None:
        """Write a rater's decision on a scan (subject, session); None removes it."""
        with self._lock:
            rows = {one.key: one for one in self.read()}
            key = (*scan, rater)
            rows.pop(key, None)
            if decision is not None:
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                rows[key] = Decision(
                    *key,
                    decision,
                    " ".join("".join(sign if sign.isprintable() else " " for sign in note).split()),
                    output,
                    now,
                )
            self._write([rows[key] for key in sorted(rows)])

    def _write(self, rows: Sequence[Decision]) -> None:
        if rows:
            write_table(self.path, COLUMNS, [[cell or _NONE for cell in row] for row in rows])
        else:
            self.path.unlink(missing_ok=True)
