"""Warnings about unusual evidence: values, and scans that do not look like the training scans."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from metavoxel.cohort.cohort import Cohort
from metavoxel.inference.answer import GivenRows
from metavoxel.inference.log_likelihoods import UNUSUAL
from metavoxel.inference.model import Model
from metavoxel.preparation.cohort_record import CohortPreparation, read_sidecar
from metavoxel.preparation.resemblance import figures_of, unlike

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


def unlike_scans(
    model: Model, preparations: Mapping[str, CohortPreparation], cohort: Cohort, prepared: Path | None
) -> Iterator[str]:
    """Yield a warning for each variable with scans that do not look like the training scans.

    Args:
        model: of the run.
        preparations: how the training images were prepared, by variable.
        cohort: rows that were read.
        prepared: folder into which the scans were prepared; None if they were read as they are.
    """
    for name in [name for name in preparations if name in cohort.columns]:
        rows = cohort.columns[name].rows
        found = {row: why for row in rows if (why := _unlike(model, preparations[name], cohort, name, row))}
        if found:
            shown = "; ".join(f"{cohort.places[row]} ({why})" for row, why in list(found.items())[:_WORST])
            advice = "give native scans with --prepare, which prepares them as the training scans were"
            if prepared is not None:
                advice = f"look at their pictures in {prepared / 'figures'}"
            yield (
                f"{name}: {len(found)} of {len(rows)} scans do not look like the training scans: {shown}. Predictions "
                f"from them are extrapolations; {advice}"
            )


def _unlike(model: Model, preparation: CohortPreparation, cohort: Cohort, name: str, row: int) -> str:
    """Reasons why a scan does not look like the training scans; empty if it does."""
    column = cohort.columns[name]
    reasons: list[str] = []
    if preparation.spread:
        reasons += unlike(figures_of(model.schema.specs[name], column.read([row])[0]), preparation.spread)
    sidecar = read_sidecar(column.cells[row] or "")
    if sidecar is not None and (other := sidecar.differences(preparation.settings, preparation.space)):
        reasons.append(f"prepared with {other}")
    return ", ".join(reasons)
