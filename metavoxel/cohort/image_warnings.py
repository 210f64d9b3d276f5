"""Warnings about readable images: differing positions, missing orientation, levels removed by scaling."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float64
from scipy.stats import kruskal, spearmanr

from metavoxel.cohort.column import Column
from metavoxel.images.common_grid import Spread, spread
from metavoxel.images.files import is_picture, read_image
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.cohort_grid import read_headers
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.parts.variables.spatial import AbstractSpatialSpec

_MAX_SPREAD = Spread(centres=5.0, angle=2.0)
"""Offsets in mm and rotations in degrees that cropping explains among images of one space."""
_MAX_IMAGES = 32
"""Number of images whose intensities are read."""
_MIN_IMAGES = 8
_ALPHA = 1e-3
"""Family-wise error rate of the tests for removed levels (Bonferroni)."""


def image_warnings(
    name: str,
    variables: Mapping[str, AbstractVariableSpec],
    columns: Mapping[str, Column],
) -> Iterator[str]:
    """Yield warnings about the images of one variable. Reads headers, and the voxels of a few files."""
    spec, column = variables[name], columns[name]
    if not isinstance(spec, AbstractSpatialSpec) or not column.present.any():
        return
    cells = [cell for cell in column.cells if cell is not None]
    headers, _ = read_headers(cells)
    grids = [header.grid for header in headers.values()]
    unknown = [cell for cell, header in headers.items() if not header.oriented and not is_picture(cell)]
    if unknown:
        yield (
            f"{len(unknown)} of {len(headers)} files have no orientation (sform and qform codes 0), such as "
            f"{unknown[0]}: left and right are taken as stored. Images are stacked by the centres of their boxes"
        )
    apart = spread(grids)
    if spec.place == "world" and (apart.centres > _MAX_SPREAD.centres or apart.angle > _MAX_SPREAD.angle):
        yield (
            f"by their headers, centres lie up to {apart.centres:.0f} mm from their mean and axes are turned by up to "
            f"{apart.angle:.0f} degrees. This is correct for heads that are registered in mm and cropped; heads in "
            "scanner coordinates should be registered first, or stacked by the centres of their boxes (place: box)"
        )
    if isinstance(spec, LabelMapSpec):
        yield from _uninformative_labels(spec, column)
    elif isinstance(spec, ImageSpec) and spec.intensities is None:
        yield from _removed_levels(spec, column, variables, columns)


def _uninformative_labels(spec: LabelMapSpec, column: Column) -> Iterator[str]:
    """Warn of identical label maps, and of labels absent from every map on the model's grid."""
    rows = column.present.nonzero()[:, 0].tolist()
    first, alike, absent = column.read(rows[:1]), True, dict.fromkeys(spec.labels)
    for row in rows:
        value = column.read([row])
        alike = alike and torch.equal(value, first)
        for label, count in spec.counts(value[0]).items():
            if count:
                absent.pop(label, None)
        if not absent and not alike:
            return
    if alike and len(rows) > 1:
        yield f"all {len(rows)} label maps are the same: a constant carries no information; leave it out"
    if absent:
        yield (
            f"none of {len(rows)} label maps has {', '.join(map(repr, absent))}: the model learns that it never "
            "occurs. Check the values of 'labels', or leave the label out"
        )


def _removed_levels(
    spec: ImageSpec, column: Column, variables: Mapping[str, AbstractVariableSpec], columns: Mapping[str, Column]
) -> Iterator[str]:
    """Warn if percentile scaling removes intensity levels that depend on a variable, or alone distinguish images."""
    present = column.present.nonzero()[:, 0].tolist()
    rows = present[:: max(1, -(-len(present) // _MAX_IMAGES))]
    remedy = "if intensities have a unit (CT, CBF, SUV, FA, T1 maps), set 'intensities: [low, high]' in it"
    levels = np.array([_level(spec, str(column.cells[row])) for row in rows])
    scaled = [column.read([row]).numpy().round(4).tobytes() for row in rows]
    same = len(scaled) - len(set(scaled))
    if same and len(set(levels.tolist())) > len(set(scaled)):
        yield f"of {len(rows)} sampled images, {same} equal another after scaling by 'percentiles'; {remedy}"
    tests = [name for name, other in variables.items() if not other.lazy and not other.data_shape]
    for name in tests:
        both = [place for place, row in enumerate(rows) if columns[name].present[row]]
        if len(both) < _MIN_IMAGES:
            continue
        values = columns[name].read([rows[place] for place in both]).double().numpy()
        p = _p_value(levels[both], values, labels=bool(variables[name].label_codes()))
        if p * len(tests) < _ALPHA:
            yield (
                f"the intensity level depends on {name} ({len(both)} sampled images, p = {p:.1g}), and "
                f"scaling by 'percentiles' removes it; {remedy}"
            )


def _level(spec: ImageSpec, cell: str) -> float:
    """Upper percentile of a file's intensities."""
    return float(np.percentile(read_image(cell, constant=True, nan=spec.nan).data, spec.percentiles[1]))


def _p_value(levels: Float64[np.ndarray, "n"], values: Float64[np.ndarray, "n"], *, labels: bool) -> float:
    """p-value of independence: Spearman's rank correlation, or the Kruskal-Wallis test for labels."""
    if len(set(levels.tolist())) < 2 or len(set(values.tolist())) < 2:
        return 1.0
    if not labels:
        return float(spearmanr(levels, values).pvalue)
    groups: Sequence[Float64[np.ndarray, " k"]] = [levels[values == label] for label in np.unique(values)]
    return float(kruskal(*groups).pvalue)
