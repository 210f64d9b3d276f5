"""Summaries of a variable's values in a cohort, and their texts."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from metavoxel.errors import CohortError
from metavoxel.parts.variables.column import Column
from metavoxel.parts.variables.headers import read_headers


class AbstractSummary(ABC):
    """Summary of the values of one variable."""

    @abstractmethod
    def text(self, unit: str) -> str:
        """Return the summary as text of one or several lines; ``unit`` is that of the column, or empty."""


@final
@dataclass(frozen=True)
class Numbers(AbstractSummary):
    """Range, mean and sample standard deviation (n - 1) of a number, in the column's unit."""

    low: float
    high: float
    mean: float
    sd: float

    def text(self, unit: str) -> str:
        digits = min(len(f"{max(abs(self.low), abs(self.high)):.0f}"), 15)  # all integer digits of large numbers
        bounds = " to ".join(f"{bound:.{max(6, digits)}g}" for bound in (self.low, self.high))
        return f"{bounds} {unit}".rstrip() + f", mean {self.mean:.{max(4, digits)}g}, sd {self.sd:.4g}"


@final
@dataclass(frozen=True)
class Labels(AbstractSummary):
    """Number of rows of each label, most frequent first."""

    counts: dict[str, int]

    def text(self, unit: str) -> str:
        return ", ".join(f"{label} {count}" for label, count in self.counts.items())


@final
@dataclass(frozen=True)
class Grids(AbstractSummary):
    """Number of files of each original grid (shape and spacing, as text), and the shape of the model's grid.

    ``spacing`` is that of the model's grid in mm; ``padding`` counts the voxels added along each axis to the smallest
    and to the largest image.
    """

    originals: dict[str, int]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    padding: tuple[tuple[int, int], ...]

    def text(self, unit: str) -> str:
        files = "\n".join(f"{count} of {grid}" for grid, count in self.originals.items())
        spaced = " x ".join(f"{step:.4g}" for step in dict.fromkeys(self.spacing))
        added = ", ".join(f"{most}" if most == least else f"{least} to {most}" for most, least in self.padding)
        return f"{files}\nto {'x'.join(map(str, self.shape))} at {spaced}; padding {added}"


@final
@dataclass(frozen=True)
class LabelCount:
    """Number of maps with a label, and its mean voxel count over those maps on the model's grid (0 if none)."""

    maps: int
    voxels: float


@final
@dataclass(frozen=True)
class LabelMaps(AbstractSummary):
    """Label maps by grid and label; ``empty`` counts maps of background only, the first label.

    ``voxel_volume`` is the size of a voxel of the model's grid in mm³ (of two axes, mm²).
    """

    grids: Grids
    labels: dict[str, LabelCount]
    empty: int
    voxel_volume: float

    def text(self, unit: str) -> str:
        power = "²" if len(self.grids.shape) == 2 else "³"
        found = [
            f"{label} in {one.maps}" + (f" (mean {one.voxels * self.voxel_volume:.4g} mm{power})" if one.maps else "")
            for label, one in self.labels.items()
        ]
        return f"{self.grids.text(unit)}\nmaps: {', '.join(found)}; {self.empty} of background only"


def summary_of_cells(distinct: Sequence[object], index: Int64[Tensor, "n"]) -> Numbers | Labels:
    """Summarise formatted values: numbers if most are numbers (the others may be censored), else labels.

    Args:
        distinct: the different values.
        index: place of each row's value in ``distinct``.
    """
    each = [float(value) if isinstance(value, int | float) else math.nan for value in distinct]
    numbers = np.array(each)[index.numpy()]
    numbers = numbers[~np.isnan(numbers)]
    if 2 * len(numbers) > len(index):
        sd = float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
        return Numbers(float(numbers.min()), float(numbers.max()), float(numbers.mean()), sd)
    # Of labels with equally many rows, the one of the first row comes first.
    counts = Counter(map(distinct.__getitem__, index.tolist()))
    return Labels({str(label): count for label, count in counts.most_common()})


def summary_of_grids(
    cells: Sequence[str], shape: tuple[int, ...], spacing: tuple[float, ...], *, resampled: float | None
) -> Grids:
    """Summarise the grids of files; ``resampled`` is the spacing in mm to which they are resampled, if they are.

    Raises:
        CohortError: files that have become unreadable.
    """
    headers, problems = read_headers(cells)
    if problems:
        raise CohortError(problems)
    originals: Counter[str] = Counter()
    sizes = set()
    for header, count in Counter(headers[cell] for cell in cells).items():
        originals[str(header.grid)] += count
        sizes.add(header.grid.shape if resampled is None else header.grid.resampled(resampled).shape)
    padding = tuple(
        (size - min(axis), size - max(axis)) for size, axis in zip(shape, zip(*sizes, strict=True), strict=True)
    )
    return Grids(dict(originals.most_common()), shape, spacing, padding)


def summary_of_label_maps(
    grids: Grids, column: Column, labels: Sequence[str], counts: Callable[[Tensor], dict[str, int]]
) -> LabelMaps:
    """Summarise label maps from the voxel ``counts`` of each; the first of ``labels`` is the background."""
    maps, voxels, empty = Counter[str](), Counter[str](), 0
    for row in column.rows:
        found = {label: count for label, count in counts(column.read([row])[0]).items() if count}
        maps.update(found.keys())
        voxels.update(found)
        empty += not found.keys() - {labels[0]}
    of_labels = {label: LabelCount(maps[label], voxels[label] / max(maps[label], 1)) for label in labels}
    return LabelMaps(grids, of_labels, empty, math.prod(grids.spacing[: len(grids.shape)]))
