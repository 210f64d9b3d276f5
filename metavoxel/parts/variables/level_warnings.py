"""Warnings about intensity levels that scaling by percentiles removes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.stats import kruskal, spearmanr

from metavoxel.images.files import read_image
from metavoxel.parts.variables.base import Recorded
from metavoxel.parts.variables.column import Column

_MAX_IMAGES = 32
"""Number of images whose intensities are read."""
_MIN_IMAGES = 8
_ALPHA = 1e-3
"""Family-wise error rate of the tests for removed levels (Bonferroni)."""


def removed_levels(
    column: Column, others: Mapping[str, Recorded], *, percentile: float, nan: float | Literal["minimum"] | None
) -> Iterator[str]:
    """Warn if percentile scaling removes intensity levels that depend on a variable, or alone distinguish images.

    Args:
        column: images of the cohort; some files are read again.
        others: all variables of the cohort.
        percentile: upper percentile of an image's intensities, its level.
        nan: replacement of NaN voxels.
    """
    rows = column.rows[:: max(1, -(-len(column.rows) // _MAX_IMAGES))]
    remedy = "if intensities have a unit (CT, CBF, SUV, FA, T1 maps), set 'intensities: [low, high]' in it"
    images = (read_image(str(column.cells[row]), constant=True, nan=nan) for row in rows)
    levels = np.array([float(np.percentile(image.data, percentile)) for image in images])
    scaled = [column.read([row]).numpy().round(4).tobytes() for row in rows]
    same = len(scaled) - len(set(scaled))
    if same and len(set(levels.tolist())) > len(set(scaled)):
        yield f"of {len(rows)} sampled images, {same} equal another after scaling by 'percentiles'; {remedy}"
    tests = {name: other for name, other in others.items() if not other.spec.lazy and not other.spec.data_shape}
    for name, (spec, values) in tests.items():
        both = [place for place, row in enumerate(rows) if values.present[row]]
        if len(both) < _MIN_IMAGES:
            continue
        numbers = values.read([rows[place] for place in both]).double().numpy()
        p = _p_value(levels[both], numbers, labels=bool(spec.label_codes()))
        if p * len(tests) < _ALPHA:
            yield (
                f"the intensity level depends on {name} ({len(both)} sampled images, p = {p:.1g}), and "
                f"scaling by 'percentiles' removes it; {remedy}"
            )


def _p_value(levels: Float64[np.ndarray, "n"], values: Float64[np.ndarray, "n"], *, labels: bool) -> float:
    """p-value of independence: Spearman's rank correlation, or the Kruskal-Wallis test for labels."""
    if len(set(levels.tolist())) < 2 or len(set(values.tolist())) < 2:
        return 1.0
    if not labels:
        return float(spearmanr(levels, values).pvalue)
    groups: Sequence[Float64[np.ndarray, " k"]] = [levels[values == label] for label in np.unique(values)]
    return float(kruskal(*groups).pvalue)
