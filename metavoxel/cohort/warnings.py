"""What is doubtful about a cohort that can be read: columns that carry nothing, and texts with two meanings."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.column import Column
from metavoxel.cohort.image_warnings import image_warnings
from metavoxel.errors import Problem
from metavoxel.variables.base import AbstractVariableSpec
from metavoxel.variables.text import difference, lookalikes


def cohort_warnings(cohort: Cohort, *, images: bool = False) -> list[Problem]:
    """Problems that do not forbid training, located, each with its cure. ``validate`` and ``train`` show them.

    With ``images``, headers and some voxels of images are read again to look for doubtful places and levels.
    """
    problems = [*cohort.notices]
    problems += [
        Problem(f"subjects {one!r} and {other!r}", f"look the same, and differ in {difference(one, other)}")
        for one, other in lookalikes(cohort.subjects)
    ]
    for name, spec in cohort.variables.items():
        column = cohort.columns[name]
        found = [*spec.warnings(), *(image_warnings(name, cohort.variables, cohort.columns) if images else ())]
        if not spec.lazy and column.present.any():
            found += _of_values(spec, column)
        problems += [Problem(f"variables.{name}", what) for what in found]
    return problems


def _of_values(spec: AbstractVariableSpec, column: Column) -> Iterator[str]:
    """Of numbers and labels: constants, labels without a row or with one."""
    values = column.read(column.present.nonzero()[:, 0])
    if len(values) > 1 and not (values != values[0]).any():
        shown = spec.format(values[0]) if not spec.data_shape else "the same"
        yield f"all {len(values)} values are {shown}: nothing can be learnt from or about a constant; leave it out"
    elif not spec.data_shape and values.is_floating_point():
        yield from _of_digits(spec, column, values)
    labels = list(spec.known_labels())
    counts = Counter(str(spec.format(value)) for value in values) if labels else Counter()
    if none := [label for label in labels if not counts[label]]:
        yield f"no row has {_listed(none)}: its probability would be a guess; take it out of the labels"
    if len(counts) > 1 and (one := [label for label in labels if counts[label] == 1]):
        yield f"only one row has {_listed(one)}: too few to learn from; merge it with another label, or leave it out"


def _of_digits(spec: AbstractVariableSpec, column: Column, values: Tensor) -> Iterator[str]:
    """Of numbers that lie closer together than they are held, or shown."""
    written = [_number(cell) for cell in column.cells if cell is not None]
    exact = {number for number in written if number is not None}
    held = set(np.array([*exact], np.float32).tolist()) if values.dtype == torch.float32 else exact
    offset = "subtract an offset from the column (a first day, say)"
    if len(held) < 0.9 * len(exact):
        yield f"{len(exact)} numbers become {len(held)} in single precision, which type {spec.type!r} holds: {offset}"
        return
    spread, largest = float(values.double().std()), values[values.double().abs().argmax()]
    shown = spec.format(largest)
    if isinstance(shown, int | float) and spread > 0:
        step = 10.0 ** (math.floor(math.log10(abs(float(shown)))) - 5)
        step = min(step, 1.0) if values.dtype == torch.float64 else step
        if spread < 5 * step:
            yield f"tables show these numbers in steps of {step:g}, and their sd is {spread:.2g}: {offset}"


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _listed(labels: list[str]) -> str:
    return ("label " if len(labels) == 1 else "labels ") + ", ".join(map(repr, labels))
