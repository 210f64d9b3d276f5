"""Regions of the test rows by predictor: thirds of numbers, classes, missing values."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.report.table import digits

PARTS = 3
"""Regions of a number: the lower, the middle and the upper third of the test rows."""

MISSING, GIVEN = "missing", "given"


class Region(NamedTuple):
    """Test rows with similar values of one predictor.

    Attributes:
        variable: the predictor.
        label: name of these values.
        rows: mask of the rows.
    """

    variable: str
    label: str
    rows: Bool[np.ndarray, "n"]


def regions_of(held_out: HeldOut, name: str) -> list[Region]:
    """Regions by one variable, excluding empty ones and those of all rows.

    A number has thirds, a categorical variable its classes, any other variable the rows in which it is given; all have
    the rows in which they are missing.
    """
    present = held_out.present(name)
    found: list[Region] = []
    if held_out.is_label(name):
        truth = held_out.truth(name)
        for label in held_out.model.labels[name]:
            found.append(Region(name, label, np.array([cell is not None and str(cell) == label for cell in truth])))
    elif held_out.spec(name).data_shape or held_out.spec(name).spatial:
        found.append(Region(name, GIVEN, present))
    else:
        found += thirds(name, held_out.numbers(name))
    found.append(Region(name, MISSING, ~present))
    return [region for region in found if region.rows.any() and not region.rows.all()]


def thirds(name: str, values: Float64[np.ndarray, "n"]) -> Iterator[Region]:
    """Thirds of the known values, named by their smallest and largest value; equal values are in one third."""
    known = np.isfinite(values)
    if not known.any():
        return
    edges = np.quantile(values[known], np.arange(1, PARTS) / PARTS, method="inverted_cdf")
    places = np.searchsorted(edges, values)
    for part in range(PARTS):
        rows = known & (places == part)
        if rows.any():
            low, high = digits(float(values[rows].min())), digits(float(values[rows].max()))
            yield Region(name, low if low == high else f"{low} to {high}", rows)


def masks(regions: Sequence[Region], rows: int) -> Bool[np.ndarray, "n r"]:
    """Masks of the regions, one column each."""
    return np.stack([region.rows for region in regions], 1) if regions else np.zeros((rows, 0), bool)
