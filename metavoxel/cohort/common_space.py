"""Share one grid among image variables of one space, so that a position in mm is the same voxel of each."""

from collections.abc import Mapping, Sequence

import numpy as np

from metavoxel.errors import CohortError
from metavoxel.images.common_grid import common_grid
from metavoxel.images.grid import Grid
from metavoxel.images.resampling import covered
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.spatial import AbstractSpatialSpec

_OVERLAP = 0.5
"""Minimum share of the smaller of two fields of view inside the other for both to be of one space."""


def with_common_grids(
    variables: Mapping[str, AbstractVariableSpec],
    cells: Mapping[str, Sequence[str]],
    multiples: Mapping[str, int],
) -> dict[str, AbstractVariableSpec]:
    """Return settings in which images of one space share the union of their grids, in mm.

    Two variables are of one space if both are placed by their affines, have equal spacing, and at least half of the
    smaller field of view lies in the larger. Variables with a grid in the schema, or with incompatible files (reported
    when they are read), are unchanged.
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
        padded = union.padded([-(-size // multiple) * multiple for size in union.shape])
        for name in group:
            known = {"shape": padded.shape, "affine": padded.affine.tolist()}
            shared[name] = variables[name].model_copy(update=known)
    return shared


def _is_free(spec: AbstractVariableSpec) -> bool:
    """Whether the grid of a variable is inferred from the affines of the cohort's images."""
    if not isinstance(spec, AbstractSpatialSpec):
        return False
    return spec.place != "box" and not (spec.shape or spec.affine or spec.template)


def _own_grid(spec: AbstractVariableSpec, cells: Sequence[str]) -> Grid | None:
    """Grid in mm of a variable by itself; None if it has none, or its files are incompatible."""
    try:
        resolved = spec.resolve(cells, multiple=1)
    except CohortError:
        return None
    if not isinstance(resolved, AbstractSpatialSpec) or resolved.place != "world":
        return None
    return Grid(resolved.data_shape[1:], np.asarray(resolved.affine, np.float64))


def _groups(grids: Mapping[str, Grid]) -> list[list[str]]:
    """Group the names of variables of one space; each group has at least two."""
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
