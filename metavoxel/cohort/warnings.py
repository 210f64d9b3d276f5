"""What is doubtful about a cohort that can be read: columns that carry nothing, texts of two meanings, small parts."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.column import Column
from metavoxel.cohort.image_warnings import image_warnings
from metavoxel.cohort.number_warnings import number_warnings
from metavoxel.errors import Problem
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.text import difference, lookalikes

ENOUGH_TO_JUDGE = 10
"""Validation rows of a variable below which their errors are mostly chance."""

_NAMED = 5
"""Variables that one line names."""


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
            found += _of_training_labels(name, spec, cohort)
        problems += [Problem(f"variables.{name}", what) for what in found]
    return problems + _of_validation(cohort)


def _of_validation(cohort: Cohort) -> list[Problem]:
    """Of a validation part that is too small to judge by."""
    rows = cohort.parts.get("validation")
    if rows is None:
        return []
    counts = {name: int(column.present[rows].sum()) for name, column in cohort.columns.items()}
    few = {name: count for name, count in counts.items() if count < ENOUGH_TO_JUDGE}
    if not few:
        return []
    if len(few) == len(counts) and len({*few.values()}) == 1:
        what = f"the validation part has {max(few.values())} row{'s' * (max(few.values()) != 1)}"
    else:
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(few.items(), key=lambda one: one[1])[:_NAMED])
        rest = f" and {len(few) - _NAMED} other variables" if len(few) > _NAMED else ""
        what = f"the validation part has few rows with {shown}{rest}"
    return [
        Problem(
            "cohort.split",
            f"{what}, and {ENOUGH_TO_JUDGE} or more are needed to judge by. The best step, and the weight of what the "
            "network adds to the Gaussian baseline, are then chosen by what so few rows can show, and answers are "
            "mostly the baseline's: raise cohort.split.validation",
        )
    ]


def _of_training_labels(name: str, spec: AbstractVariableSpec, cohort: Cohort) -> Iterator[str]:
    """Of labels that several rows have, and of the training part none or one."""
    rows, column = cohort.parts.get("train"), cohort.columns[name]
    labels = list(spec.known_labels())
    if rows is None or not labels:
        return
    every = column.present.nonzero()[:, 0]
    whole, seen = (
        Counter(str(spec.format(value)) for value in column.read(some)) for some in (every, rows[column.present[rows]])
    )
    cure = f"divide the rows by cohort.split.stratify: [{name}], merge it with another label, or leave it out"
    for label in labels:
        if whole[label] > 1 and seen[label] < 2:
            found = "no training row has" if not seen[label] else "only one training row has"
            made = "its probability would be a guess" if not seen[label] else "too few to learn from"
            yield f"{found} label {label!r} ({whole[label]} rows of the cohort do): {made}; {cure}"


def _of_values(spec: AbstractVariableSpec, column: Column) -> Iterator[str]:
    """Of numbers and labels: constants, labels without a row or with one, numbers far from normal."""
    values = column.read(column.present.nonzero()[:, 0])
    if len(values) > 1 and not (values != values[0]).any():
        shown = spec.format(values[0]) if not spec.data_shape else "the same"
        yield f"all {len(values)} values are {shown}: nothing can be learnt from or about a constant; leave it out"
    elif not spec.data_shape and values.is_floating_point():
        of_digits = [*_of_digits(spec, column, values)]
        yield from of_digits
        if isinstance(spec, ContinuousSpec) and not of_digits:
            yield from number_warnings(spec, values.double().numpy())
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
