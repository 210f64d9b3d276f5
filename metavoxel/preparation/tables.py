"""Write tables whole: aside, then renamed, so that a reader sees the old or the new one."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from metavoxel.preparation.outputs import replace_text


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a TSV file; cells with tabs or quotes are quoted."""
    text = io.StringIO()
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    replace_text(path, text.getvalue())
