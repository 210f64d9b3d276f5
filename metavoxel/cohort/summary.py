"""Summarise a cohort: counts, ranges, categories, cells set to missing by rules, image grids."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.column import Column
from metavoxel.images.files import read_grid
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.parts.variables.spatial import AbstractSpatialSpec

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
class Numbers:
    """Range, mean and sample standard deviation (n - 1) of a number, in the column's unit."""

    low: float
    high: float
    mean: float
    sd: float


@final
@dataclass(frozen=True)
class Labels:
    """Number of rows of each label, most frequent first."""

    counts: dict[str, int]


@final
@dataclass(frozen=True)
class Grids:
    """Number of files of each original grid (shape and spacing, as text), and the shape of the model's grid.

    ``spacing`` is that of the model's grid in mm; ``padding`` counts the voxels added along each axis to the smallest
    and to the largest image.
    """

    originals: dict[str, int]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    padding: tuple[tuple[int, int], ...]


@final
@dataclass(frozen=True)
class LabelCount:
    """Number of maps with a label, and its mean voxel count over those maps on the model's grid (0 if none)."""

    maps: int
    voxels: float


@final
@dataclass(frozen=True)
class LabelMaps:
    """Label maps by grid and label; ``empty`` counts maps of background only, the first label.

    ``voxel_volume`` is the size of a voxel of the model's grid in mm³ (of two axes, mm²).
    """

    grids: Grids
    labels: dict[str, LabelCount]
    empty: int
    voxel_volume: float


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
    values: Numbers | Labels | Grids | LabelMaps | None


@final
@dataclass(frozen=True)
class Summary:
    """Summary of a cohort; ``parts`` has the number of rows and of subjects of each part."""

    rows: int
    subjects: int
    parts: dict[str, tuple[int, int]]
    variables: tuple[VariableSummary, ...]


def describe(cohort: Cohort) -> Summary:
    """Summarise a cohort. Reads the headers of its images; of label maps also the voxels."""
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
        variables.append(VariableSummary(name, spec.type, unit, present, missing, blanked, _values(spec, column)))
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
        cells = ["\n".join(rules), _formatted(variable.values, variable.unit)]
        counts = [str(variable.present), str(variable.missing)]
        table.add_row(escape(variable.name), escape(variable.type), *counts, *map(escape, cells))
    return Group(head, table)


def _values(spec: AbstractVariableSpec, column: Column) -> Numbers | Labels | Grids | LabelMaps | None:
    cells = [cell for cell in column.cells if cell is not None]
    if isinstance(spec, LabelMapSpec):
        return _label_maps(spec, column, cells) if cells else None
    if isinstance(spec, AbstractSpatialSpec):
        return _grids(spec, cells) if cells else None
    if spec.lazy or spec.data_shape or not cells:
        return None
    distinct, index = column.read(column.present.nonzero()[:, 0]).unique(return_inverse=True)
    shown = [spec.format(value) for value in distinct]
    each = [float(value) if isinstance(value, int | float) else math.nan for value in shown]
    numbers = np.array(each)[index.numpy()]
    numbers = numbers[~np.isnan(numbers)]
    if 2 * len(numbers) > len(index):  # the others may be censored
        sd = float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
        return Numbers(float(numbers.min()), float(numbers.max()), float(numbers.mean()), sd)
    # Of labels with equally many rows, the one of the first row comes first.
    counts = Counter(map(shown.__getitem__, index.tolist()))
    return Labels({str(label): count for label, count in counts.most_common()})


def _grids(spec: AbstractSpatialSpec, cells: Sequence[str]) -> Grids:
    originals: Counter[str] = Counter()
    sizes = set()
    for cell in cells:
        grid = read_grid(cell)
        originals[str(grid)] += 1
        sizes.add(grid.shape if spec.spacing is None else grid.resampled(spec.spacing).shape)
    shape = spec.data_shape[1:]
    padding = tuple(
        (size - min(axis), size - max(axis)) for size, axis in zip(shape, zip(*sizes, strict=True), strict=True)
    )
    return Grids(dict(originals.most_common()), shape, spec.grid(cells[0]).spacing, padding)


def _label_maps(spec: LabelMapSpec, column: Column, cells: Sequence[str]) -> LabelMaps:
    grids, background = _grids(spec, cells), next(iter(spec.labels))
    maps, voxels, empty = Counter[str](), Counter[str](), 0
    for row in column.present.nonzero()[:, 0].tolist():
        counts = {label: count for label, count in spec.counts(column.read([row])[0]).items() if count}
        maps.update(counts.keys())
        voxels.update(counts)
        empty += not counts.keys() - {background}
    labels = {label: LabelCount(maps[label], voxels[label] / max(maps[label], 1)) for label in spec.labels}
    return LabelMaps(grids, labels, empty, math.prod(grids.spacing[: len(grids.shape)]))


def _formatted(values: Numbers | Labels | Grids | LabelMaps | None, unit: str) -> str:
    match values:
        case Numbers(low, high, mean, sd):
            digits = min(len(f"{max(abs(low), abs(high)):.0f}"), 15)  # all integer digits of large numbers
            bounds = " to ".join(f"{bound:.{max(6, digits)}g}" for bound in (low, high))
            return f"{bounds} {unit}".rstrip() + f", mean {mean:.{max(4, digits)}g}, sd {sd:.4g}"
        case Labels(counts):
            return ", ".join(f"{label} {count}" for label, count in counts.items())
        case Grids(originals, shape, spacing, padding):
            files = "\n".join(f"{count} of {grid}" for grid, count in originals.items())
            spaced = " x ".join(f"{step:.4g}" for step in dict.fromkeys(spacing))
            added = ", ".join(f"{most}" if most == least else f"{least} to {most}" for most, least in padding)
            return f"{files}\nto {'x'.join(map(str, shape))} at {spaced}; padding {added}"
        case LabelMaps(grids, labels, empty, volume):
            power = "²" if len(grids.shape) == 2 else "³"
            found = [
                f"{label} in {one.maps}" + (f" (mean {one.voxels * volume:.4g} mm{power})" if one.maps else "")
                for label, one in labels.items()
            ]
            return f"{_formatted(grids, unit)}\nmaps: {', '.join(found)}; {empty} of background only"
    return ""
