"""Warnings about readable cohorts: uninformative columns, ambiguous labels, small parts."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import Problem
from metavoxel.parts.variables.base import AbstractVariableSpec, Recorded
from metavoxel.parts.variables.column import Column
from metavoxel.parts.variables.text import difference, lookalikes

ENOUGH_TO_JUDGE = 10
"""Minimum number of validation rows of a variable for reliable errors."""

_MAX_LISTED = 5
"""Maximum number of variables listed in one warning."""


def cohort_warnings(cohort: Cohort, *, images: bool = False) -> list[Problem]:
    """Collect problems that do not prevent training, each with location and remedy, for ``validate`` and ``train``.

    With ``images``, headers and some voxels are read again, to check positions and intensity levels for example.
    """
    problems = [*cohort.notices]
    problems += [
        Problem(f"subjects {one!r} and {other!r}", f"look the same, and differ in {difference(one, other)}")
        for one, other in lookalikes(cohort.subjects)
    ]
    recorded = {name: Recorded(spec, cohort.columns[name]) for name, spec in cohort.variables.items()}
    for name, (spec, column) in recorded.items():
        found = [*spec.warnings()]
        if column.present.any():
            if not spec.lazy:
                found += _value_warnings(spec, column)
                found += _training_label_warnings(name, spec, cohort)
                found += [] if spec.has_mean else _repeated_warnings(spec, cohort, name)
            elif images:
                found += spec.file_warnings(column, recorded)
        problems += [Problem(f"variables.{name}", what) for what in found]
    return problems + _validation_warnings(cohort)


def _validation_warnings(cohort: Cohort) -> list[Problem]:
    """Warn of a validation part that is too small for reliable errors."""
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
        shown = ", ".join(
            f"{name} ({count})" for name, count in sorted(few.items(), key=lambda one: one[1])[:_MAX_LISTED]
        )
        rest = f" and {len(few) - _MAX_LISTED} other variables" if len(few) > _MAX_LISTED else ""
        what = f"the validation part has few rows with {shown}{rest}"
    return [
        Problem(
            "cohort.split",
            f"{what}, and {ENOUGH_TO_JUDGE} or more are needed for reliable validation errors. With so few rows, the "
            "choice of the best step and the network weight is unreliable, and predictions are mostly those of the "
            "Gaussian baseline: raise cohort.split.validation",
        )
    ]


def _training_label_warnings(name: str, spec: AbstractVariableSpec, cohort: Cohort) -> Iterator[str]:
    """Warn of labels with several rows in the cohort, but at most one in the training part."""
    rows, column = cohort.parts.get("train"), cohort.columns[name]
    labels = list(spec.label_codes())
    if rows is None or not labels:
        return
    present = column.present.nonzero()[:, 0]
    total, training = (label_counts(spec, column.read(of_rows)) for of_rows in (present, rows[column.present[rows]]))
    remedy = f"divide the rows by cohort.split.stratify: [{name}], merge it with another label, or leave it out"
    for label in labels:
        if total[label] > 1 and training[label] < 2:
            found = "no training row has" if not training[label] else "only one training row has"
            effect = "its probability cannot be estimated" if not training[label] else "too few to learn from"
            yield f"{found} label {label!r} ({total[label]} rows of the cohort do): {effect}; {remedy}"


def label_counts(spec: AbstractVariableSpec, values: Shaped[Tensor, "n *d"]) -> Counter[str]:
    """Count values by their texts in tables; each distinct value is formatted once."""
    if spec.data_shape:
        return Counter(str(spec.format(value)) for value in values)
    distinct, counts = values.unique(return_counts=True)
    found = Counter[str]()
    for value, count in zip(distinct, counts.tolist(), strict=True):
        found[str(spec.format(value))] += count
    return found


def _repeated_warnings(spec: AbstractVariableSpec, cohort: Cohort, name: str) -> Iterator[str]:
    """Warn of values of the validation or test part that the training part has too."""
    column = cohort.columns[name]
    of_part = {
        part: [str(spec.format(value)) for value in column.read(rows[column.present[rows]])]
        for part, rows in cohort.parts.items()
    }
    known = {*of_part.get("train", [])}
    for part in ("validation", "test"):
        values = of_part.get(part, [])
        if repeated := sum(value in known for value in values):
            yield (
                f"{repeated} of {len(values)} values of the {part} part are also in the training part, which inflates "
                "every score of this variable: score the others by themselves"
            )


def _value_warnings(spec: AbstractVariableSpec, column: Column) -> Iterator[str]:
    """Warn of constants, labels with at most one row, and numbers far from normal."""
    values = column.read(column.present.nonzero()[:, 0])
    if len(values) > 1 and not (values != values[0]).any():
        shown = spec.format(values[0]) if not spec.data_shape else "the same"
        yield f"all {len(values)} values are {shown}: a constant carries no information; leave it out"
    elif not spec.data_shape and values.is_floating_point():
        imprecise = [*_precision_warnings(spec, column, values)]
        yield from imprecise
        if not imprecise:
            yield from spec.value_warnings(values)
    labels = list(spec.label_codes())
    counts = label_counts(spec, values) if labels else Counter()
    if none := [label for label in labels if not counts[label]]:
        yield f"no row has {_listed(none)}: its probability cannot be estimated; remove it from the labels"
    if len(counts) > 1 and (one := [label for label in labels if counts[label] == 1]):
        yield f"only one row has {_listed(one)}: too few to learn from; merge it with another label, or leave it out"


def _precision_warnings(spec: AbstractVariableSpec, column: Column, values: Tensor) -> Iterator[str]:
    """Warn of numbers that differ by less than the precision in which they are stored or written."""
    written = [_number(cell) for cell in set(column.cells) if cell is not None]
    exact = {number for number in written if number is not None}
    held = set(np.array([*exact], np.float32).tolist()) if values.dtype == torch.float32 else exact
    offset = "subtract an offset from the column (such as the first day)"
    if len(held) < 0.9 * len(exact):
        yield f"{len(exact)} numbers become {len(held)} in single precision, which type {spec.type!r} uses: {offset}"
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
