"""Summarise a cohort: counts, cells set to missing by rules, and each variable's own summary."""

from dataclasses import dataclass
from typing import final

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from metavoxel.cohort.cohort import Cohort
from metavoxel.parts.variables.summaries import AbstractSummary

_EXAMPLES = 5


@final
@dataclass(frozen=True)
class Blanked:
    """Cells that a rule set to missing."""

    rule: str
    count: int
    examples: tuple[str, ...]


@final
@dataclass(frozen=True)
class VariableSummary:
    """Summary of one variable: rows with a value, without one, and set to missing by a rule."""

    name: str
    type: str
    unit: str
    present: int
    missing: int
    blanked: tuple[Blanked, ...]
    values: AbstractSummary | None


@final
@dataclass(frozen=True)
class Summary:
    """Summary of a cohort; ``parts`` has the number of rows and of subjects of each part."""

    rows: int
    subjects: int
    parts: dict[str, tuple[int, int]]
    variables: tuple[VariableSummary, ...]


def describe(cohort: Cohort) -> Summary:
    """Summarise a cohort. Types with files read headers, and some of them voxels."""
    parts = {
        part: (len(rows), len({cohort.subjects[row] for row in rows.tolist()})) for part, rows in cohort.parts.items()
    }
    variables = []
    for name, spec in cohort.variables.items():
        column = cohort.columns[name]
        blanked = tuple(
            Blanked(rule, len(cells), tuple(dict.fromkeys(cells))[:_EXAMPLES])
            for rule, cells in cohort.blanked.get(name, {}).items()
        )
        present = int(column.present.sum())
        missing = len(cohort) - present - sum(rule.count for rule in blanked)
        unit = str(spec.model_dump().get("unit") or "")
        values = spec.summary(column) if present else None
        variables.append(VariableSummary(name, spec.type, unit, present, missing, blanked, values))
    return Summary(len(cohort), len(set(cohort.subjects)), parts, tuple(variables))


def render(summary: Summary) -> Group:
    """Format a summary for printing with ``rich``."""
    parts = [f"{part} {subjects} subjects ({rows} rows)" for part, (rows, subjects) in summary.parts.items()]
    head = Text(f"{summary.rows} rows of {summary.subjects} subjects" + (": " if parts else "") + ", ".join(parts))
    table = Table("variable", "type", "present", "missing", "blanked by a rule", "values")
    for column in table.columns[2:4]:
        column.justify = "right"
    for variable in summary.variables:
        rules = [f"{rule.count} {rule.rule}: {', '.join(rule.examples)}" for rule in variable.blanked]
        cells = ["\n".join(rules), variable.values.text(variable.unit) if variable.values else ""]
        counts = [str(variable.present), str(variable.missing)]
        table.add_row(escape(variable.name), escape(variable.type), *counts, *map(escape, cells))
    return Group(head, table)
