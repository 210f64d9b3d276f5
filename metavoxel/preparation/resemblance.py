"""Comparison of a scan with the training cohort: quality figures on the model's grid.

The figures are of values that have been read anyway, so a scan costs about a tenth of a second. They reveal a head
that was not prepared as the cohort was (skull, pose, another template), not a difference in noise or contrast.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.column import Column
from metavoxel.preparation.quality import ENOUGH, Spread, similarity, spread

MOST_TRAINING_SCANS = 64
"""Training scans from which the spread is estimated."""
_LEAST_MARGIN = 0.03
"""Smallest margin of a correlation: larger than among scans prepared alike, since an unprepared head is far beyond."""
_LEAST_VOLUME_MARGIN = 0.05
"""Smallest margin of a volume, as a share of the median."""


def spread_of(spec: AbstractVariableSpec, column: Column, rows: Sequence[int]) -> dict[str, Spread]:
    """Compute the spread of each figure over some rows; empty for few rows or images that are not 3-D heads in mm."""
    if not _is_head(spec) or len(rows) < ENOUGH:
        return {}
    chosen = [rows[index] for index in np.linspace(0, len(rows) - 1, min(len(rows), MOST_TRAINING_SCANS)).astype(int)]
    figures = [figures_of(spec, column.read([row])[0]) for row in chosen]
    return {name: spread([one[name] for one in figures]) for name in figures[0]}


def figures_of(spec: AbstractVariableSpec, value: Tensor) -> dict[str, float]:
    """Compute correlation, symmetry and volume in ml of a value (:class:`metavoxel.preparation.quality.Quality`)."""
    from metavoxel.preparation.template import load_template  # it imports nilearn, which other schemas do not need

    file = spec.to_nifti(value)
    image = Image(np.asarray(file.dataobj, np.float32), Grid(file.shape, np.asarray(file.affine, np.float64)))
    image = image.canonical()
    mask = image.data > 0
    correlation, symmetry = similarity(image, mask, *load_template())
    volume = float(mask.sum()) * abs(float(np.linalg.det(image.grid.affine[:3, :3]))) / 1000
    return {"correlation": correlation, "symmetry": symmetry, "volume": volume}


def unlike(figures: Mapping[str, float], cohort: Mapping[str, Spread]) -> Iterator[str]:
    """Yield why a scan does not look like those of a cohort: figures beyond six robust standard deviations."""
    for name, usual in cohort.items():
        if name not in figures:
            continue
        value = figures[name]
        if name == "volume":
            margin = usual.margin(_LEAST_VOLUME_MARGIN * usual.median)
            if abs(value - usual.median) > margin:
                yield (
                    f"volume above 0 is {value:.0f} ml, and {usual.median - margin:.0f} to {usual.median + margin:.0f} "
                    "in training scans"
                )
        elif value < (limit := usual.median - usual.margin(_LEAST_MARGIN)):
            yield f"{name} {value:.2f}, below {limit:.2f} (training scans: median {usual.median:.2f})"


def _is_head(spec: AbstractVariableSpec) -> bool:
    """Whether values are volumes whose grid is in mm."""
    return spec.spatial and len(spec.data_shape) == 4 and spec.model_dump().get("place", "world") == "world"
