"""Report as one self-contained HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple, final

import jinja2

from metavoxel.evaluation.report.figure import embedded
from metavoxel.evaluation.report.table import ResultTable
from metavoxel.storage.atomic import write_text


class Tabulated(NamedTuple):
    """A table and its caption."""

    caption: str
    figures: ResultTable


class Pictured(NamedTuple):
    """File name (without extension) and caption of a figure."""

    name: str
    caption: str


@final
@dataclass(frozen=True)
class Section:
    """A section of the report."""

    title: str
    words: Sequence[str] = ()
    tables: Sequence[Tabulated] = ()
    figures: Sequence[Pictured] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.tables or self.figures)


def write_report(
    path: Path, *, title: str, facts: Sequence[str], notes: Sequence[str], sections: Sequence[Section], figures: Path
) -> None:
    """Write the report.

    Args:
        path: path of the HTML file.
        title: title of the report.
        facts: sentences on the evaluation protocol.
        notes: failures and missing measures.
        sections: sections in order; empty ones are left out.
        figures: folder with the PNG files of the sections' figures, which are embedded.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = resources.files("metavoxel.evaluation.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    shown = [section for section in sections if section]
    text = environment.from_string(template).render(
        title=title, facts=facts, notes=notes, sections=shown, picture=lambda name: embedded(figures / f"{name}.png")
    )
    write_text(path, text)
