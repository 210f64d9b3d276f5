"""Warnings about unusual evidence in a table."""

from collections import Counter
from collections.abc import Iterator

from metavoxel.inference.answer import GivenRows
from metavoxel.inference.log_likelihoods import UNUSUAL
from metavoxel.inference.model import Model

_WORST = 3


def notices(model: Model, rows: GivenRows, *, seed: int) -> Iterator[str]:
    """Yield a warning about given values that are unusual given the training rows."""
    cohort, found = rows.cohort, model.unusual_in(rows, seed=seed)
    if not found:
        return
    counts = Counter(one.variable for one in found)
    scalars = [name for name in rows.evidence if not model.schema.variables[name].spec.spatial]
    values = sum(int(cohort.columns[name].present.sum()) for name in scalars)
    worst = "; ".join(
        f"{cohort.row_keys[one.row]}: {one.variable} = {one.cell} (p = {one.probability:.1g})" for one in found[:_WORST]
    )
    yield (
        f"Unlike the training rows: {len(found)} of {values} given values "
        f"({', '.join(f'{name} {count}' for name, count in counts.most_common())}), each less likely than 1 in "
        f"{1 / UNUSUAL:.0f} given the rest of its row ({UNUSUAL * values:.2g} expected by chance). Worst: {worst}. "
        "Predictions for such rows are extrapolations"
    )
