"""Share one grid among image variables of one space, so that a position in mm is the same voxel of each."""

from collections.abc import Mapping, Sequence

import numpy as np

from metavoxel.images.common_grid import common_grid
from metavoxel.images.grid import Grid
from metavoxel.images.resampling import covered
from metavoxel.parts.variables.base import AbstractVariableSpec

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
    spatial = {name: spec for name, spec in variables.items() if given[name] and spec.spatial}
    found = {name: spec.world_grid(given[name]) for name, spec in spatial.items()} if len(spatial) > 1 else {}
    grids = {name: grid for name, grid in found.items() if grid is not None}
    shared: dict[str, AbstractVariableSpec] = dict(variables)
    for group in _groups(grids):
        multiple = int(np.lcm.reduce([multiples.get(name, 1) for name in group]))
        union = common_grid([grids[name] for name in group])
        padded = union.padded([-(-size // multiple) * multiple for size in union.shape])
        for name in group:
            shared[name] = variables[name].with_grid(padded)
    return shared


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
