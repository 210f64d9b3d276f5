"""One grid for image variables of one space, so that what lies at one place in mm lies at one voxel of each."""

from collections.abc import Mapping, Sequence

import numpy as np

from metavoxel.errors import CohortError
from metavoxel.images.common_grid import common_grid
from metavoxel.images.grid import Grid
from metavoxel.images.resampling import covered
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.spatial import AbstractSpatialSpec

_OVERLAP = 0.5
"""Share of the smaller of two fields of view that must lie in the other for them to be of one space."""


def with_common_grids(
    variables: Mapping[str, AbstractVariableSpec],
    cells: Mapping[str, Sequence[str]],
    multiples: Mapping[str, int],
) -> dict[str, AbstractVariableSpec]:
    """Settings in which images of one space share their grid: the union of theirs, in mm.

    Two variables are of one space if both are placed by their affines, at one spacing, and most of the smaller field
    of view lies in the larger. Variables whose grid the schema gives, or whose files do not fit together (which reading
    them reports), are left alone.
    """
    given = {name: [cell for cell in cells.get(name, ()) if cell] for name in variables}
    free = {name: spec for name, spec in variables.items() if given[name] and _is_free(spec)}
    grids = (
        {name: grid for name, spec in free.items() if (grid := _own_grid(spec, given[name]))} if len(free) > 1 else {}
    )
    shared: dict[str, AbstractVariableSpec] = dict(variables)
    for group in _groups(grids):
        multiple = int(np.lcm.reduce([multiples.get(name, 1) for name in group]))
        union = common_grid([grids[name] for name in group])
        whole = union.padded([-(-size // multiple) * multiple for size in union.shape])
        for name in group:
            known = {"shape": whole.shape, "affine": whole.affine.tolist()}
            shared[name] = variables[name].model_copy(update=known)
    return shared


def _is_free(spec: AbstractVariableSpec) -> bool:
    """Whether the cohort decides where the images of a variable lie, by their affines."""
    if not isinstance(spec, AbstractSpatialSpec):
        return False
    return spec.place != "box" and not (spec.shape or spec.affine or spec.template)


def _own_grid(spec: AbstractVariableSpec, cells: Sequence[str]) -> Grid | None:
    """The grid in mm that a variable would have by itself; None where it has none, or its files do not fit together."""
    try:
        resolved = spec.resolve(cells, multiple=1)
    except CohortError:
        return None
    if not isinstance(resolved, AbstractSpatialSpec) or resolved.place != "world":
        return None
    return Grid(resolved.data_shape[1:], np.asarray(resolved.affine, np.float64))


def _groups(grids: Mapping[str, Grid]) -> list[list[str]]:
    """Names of two and more variables of one space, each in one group."""
    groups: list[list[str]] = []
    for name, grid in grids.items():
        of_one_space = (group for group in groups if _of_one_space(grids[group[0]], grid))
        found = next(of_one_space, None)
        if found is None:
            groups.append([name])
        else:
            found.append(name)
    return [group for group in groups if len(group) > 1]


def _of_one_space(one: Grid, other: Grid) -> bool:
    if len(one.shape) != len(other.shape) or not one.spaced_as(other):
        return False
    return bool(max(covered(one, other).mean(), covered(other, one).mean()) >= _OVERLAP)
