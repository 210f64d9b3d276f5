"""Write tables whole, so that a reader sees the old or the new one."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from metavoxel.storage.atomic import write_text


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a TSV file; cells with tabs or quotes are quoted."""
    text = io.StringIO()
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
