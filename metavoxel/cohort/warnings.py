"""What is doubtful about a cohort that can be read: columns that carry nothing, and texts with two meanings."""

from collections import Counter
from collections.abc import Iterator

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.column import Column
from metavoxel.cohort.image_warnings import image_warnings
from metavoxel.errors import Problem
from metavoxel.variables.base import AbstractVariableSpec


def cohort_warnings(cohort: Cohort) -> list[Problem]:
    """Problems that do not forbid training, located, each with its cure. ``validate`` and ``train`` show them."""
    problems: list[Problem] = [*cohort.notices]
    for name, spec in cohort.variables.items():
        column = cohort.columns[name]
        found = [*spec.warnings(), *image_warnings(name, cohort.variables, cohort.columns)]
        if not spec.lazy and column.present.any():
            found += _of_values(spec, column)
        problems += [Problem(f"variables.{name}", what) for what in found]
    return problems


def _of_values(spec: AbstractVariableSpec, column: Column) -> Iterator[str]:
    """Of numbers and labels: constants, labels without a row or with one."""
    values = column.read(column.present.nonzero()[:, 0])
    counts = Counter(spec.format(value) for value in values) if not spec.data_shape else Counter()
    cells = [cell for cell in column.cells if cell is not None]
    if len(counts) == 1 and len(cells) > 1:
        (shown,) = counts
        yield f"all {len(cells)} values are {shown}: nothing can be learnt from or about a constant; leave it out"
    labels = [str(label) for label in spec.known_labels()]
    if none := [label for label in labels if not counts[label]]:
        yield f"no row has {_listed(none)}: its probability would be a guess; take it out of the labels"
    if len(counts) > 1 and (one := [label for label in labels if counts[label] == 1]):
        yield f"only one row has {_listed(one)}: too few to learn from; merge it with another label, or leave it out"


def _listed(labels: list[str]) -> str:
    return ("label " if len(labels) == 1 else "labels ") + ", ".join(map(repr, labels))
