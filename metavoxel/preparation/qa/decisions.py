"""The table of decisions: one row per scan and rater, each written at once and whole."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, final

from filelock import FileLock

from metavoxel.cohort.table import read_table
from metavoxel.cohort.visual_qa import COLUMNS
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
            CohortError: the table cannot be read.
        """
        if not self.path.exists():
            return []
        rows = read_table(self.path).frame.to_dict("records")
        return [Decision(*("" if row[column] == _NONE else row[column] for column in COLUMNS)) for row in rows]

    def record(self, scan: tuple[str, str], output: str, rater: str, decision: str | None, note: str) -> None:
        """Write a rater's decision on a scan (subject, session); None removes it."""
        with self._lock:
            rows = {one.key: one for one in self.read()}
            key = (*scan, rater)
            rows.pop(key, None)
            if decision is not None:
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                rows[key] = Decision(*key, decision, " ".join(note.split()), output, now)
            self._write([rows[key] for key in sorted(rows)])

    def _write(self, rows: Sequence[Decision]) -> None:
        if rows:
            write_table(self.path, COLUMNS, [[cell or _NONE for cell in row] for row in rows])
        else:
            self.path.unlink(missing_ok=True)
