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


class Passage(NamedTuple):
    """A part of a text, and whether the text that it is compared with has it too."""

    text: str
    shared: bool


class TextRow(NamedTuple):
    """True and drawn text of one row.

    Attributes:
        subject: subject of the row.
        values: the row's numbers and labels, as one line.
        images: data URIs of the row's images; None where missing.
        true: the true text.
        drawn: the drawn text.
    """

    subject: str
    values: str
    images: Sequence[str | None]
    true: Sequence[Passage]
    drawn: Sequence[Passage]


class TextTable(NamedTuple):
    """Texts of one variable beside the images of the same rows; ``images`` are the names of their columns."""

    caption: str
    images: Sequence[str]
    rows: Sequence[TextRow]


@final
@dataclass(frozen=True)
class Section:
    """A section of the report."""

    title: str
    words: Sequence[str] = ()
    tables: Sequence[Tabulated] = ()
    figures: Sequence[Pictured] = ()
    texts: Sequence[TextTable] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.tables or self.figures or self.texts)


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
