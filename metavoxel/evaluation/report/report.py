"""The report: one HTML file that needs nothing beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple, final

import jinja2

from metavoxel.evaluation.report.figure import embedded
from metavoxel.evaluation.report.table import Figures


class Tabulated(NamedTuple):
    """A table and what it says above it."""

    caption: str
    figures: Figures


class Pictured(NamedTuple):
    """A figure by the name of its files, and what it shows."""

    name: str
    caption: str


@final
@dataclass(frozen=True)
class Section:
    """One part of the report."""

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
        path: of the HTML file.
        title: of the report.
        facts: how it was measured, a sentence each.
        notes: what failed or could not be measured.
        sections: in order; empty ones are left out.
        figures: folder with the PNG files that the sections name, which go into the report.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = resources.files("metavoxel.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    shown = [section for section in sections if section]
    text = environment.from_string(template).render(
        title=title, facts=facts, notes=notes, sections=shown, picture=lambda name: embedded(figures / f"{name}.png")
    )
    temporary = path.with_suffix(".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
