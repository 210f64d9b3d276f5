"""The grid of the model, from those of the cohort's files."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from metavoxel.errors import CohortError, Problem
from metavoxel.images.common_grid import common_grid, commonest
from metavoxel.images.files import Header, read_header
from metavoxel.images.grid import Grid
from metavoxel.parts.variables.placement import Place

NOT_ORIENTED = (
    "no orientation in the header (NIfTI: sform and qform codes 0), so that left and right may be swapped between "
    "subjects; write the orientation into it"
)
_READERS = 4
_SPARSE = 8
"""Times the voxels of an image beyond which a common grid is refused: most of it would be padding."""


def read_headers(cells: Sequence[str]) -> tuple[dict[str, Header], list[Problem]]:
    """Headers of all distinct files, and what is wrong with those that cannot be read."""

    def attempt(cell: str) -> Header | Problem:
        try:
            return read_header(cell)
        except ValueError as error:
            return Problem(cell, str(error))

    distinct = list(dict.fromkeys(cells))
    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(distinct, pool.map(attempt, distinct), strict=True))
    headers = {cell: header for cell, header in found.items() if isinstance(header, Header)}
    return headers, [problem for problem in found.values() if isinstance(problem, Problem)]


def usual_place(headers: Mapping[str, Header]) -> Place:
    """Images whose headers have no orientation have no place in mm either."""
    return "world" if any(header.oriented for header in headers.values()) else "box"


def unoriented(headers: Mapping[str, Header], place: Place) -> Iterator[Problem]:
    """Headers without orientation where they have to have one: among others that do, and on a grid in mm."""
    unknown = [cell for cell, header in headers.items() if not header.oriented]
    if unknown and (place == "world" or len(unknown) < len(headers)):
        yield Problem(unknown[0], f"is one of {len(unknown)} (of {len(headers)}) files: {NOT_ORIENTED}")


def misfits(headers: Mapping[str, Header], spacing: float | None, place: Place) -> Iterator[Problem]:
    """Files that cannot share a model with the others: of other axes, another plane or spacing, or not oriented."""
    if not headers:
        return
    grids = {cell: header.grid for cell, header in headers.items()}
    if spacing is not None:
        yield from _lost(grids, spacing)
    usual_axes = Counter(len(grid.shape) for grid in grids.values()).most_common(1)[0][0]
    yield from unoriented(
        {cell: header for cell, header in headers.items() if len(header.grid.shape) == usual_axes}, place
    )
    alike = [grid for grid in grids.values() if len(grid.shape) == usual_axes]
    usual = _usual(alike, place)
    for cell, grid in grids.items():
        if len(grid.shape) != usual_axes:
            yield Problem(cell, f"has {len(grid.shape)} axes where most images of this variable have {usual_axes}")
        elif place == "world" and usual_axes == 2 and not _in_one_plane(grid, usual):
            yield Problem(cell, "is a slice of another plane than most images; 'place: box' stacks them all the same")
        elif spacing is None and not (grid.agrees(usual) if place == "box" else grid.spaced_as(usual)):
            yield Problem(
                cell, f"is {grid}, while most images are {usual}; set 'spacing' to resample them all to one grid"
            )


def _lost(grids: Mapping[str, Grid], spacing: float) -> Iterator[Problem]:
    """Files of which one voxel of this spacing is larger than the whole."""
    widest = {cell: float(np.max(np.multiply(grid.shape, grid.spacing))) for cell, grid in grids.items()}
    lost = [cell for cell, width in widest.items() if width <= spacing]
    if lost:
        which = f"is one of {len(lost)} (of {len(grids)}) files that" if len(lost) > 1 else "is an image that"
        yield Problem(
            lost[0],
            f"{which} 'spacing: {spacing:g}' would reduce to one voxel: it is {widest[lost[0]]:g} mm wide "
            f"({grids[lost[0]]}). 'spacing' is in mm, whatever the unit of the files",
        )


def _usual(grids: Sequence[Grid], place: Place) -> Grid:
    if place == "world":
        return commonest(grids)
    most = Counter(map(str, grids)).most_common(1)[0][0]
    return next(grid for grid in grids if str(grid) == most)


def _in_one_plane(grid: Grid, usual: Grid) -> bool:
    return bool(abs(grid.directions()[:, 2] @ usual.directions()[:, 2]) > np.cos(np.deg2rad(10)))


def cohort_grid(
    grids: Mapping[str, Grid], spacing: float | None, place: Place, shape: tuple[int, ...] | None, multiple: int
) -> Grid:
    """The grid that all images are brought to, margins included: it holds each of them whole.

    Args:
        grids: canonical ones, by file, without misfits.
        spacing: isotropic, in mm; by default the images' own.
        place: 'world' is one grid in mm; under 'box' it is as large as the largest image, where the first one lies.
        shape: voxels along each axis; by default as few as are needed.
        multiple: what these are to be multiples of.

    Raises:
        CohortError: images too far apart for one grid, or a shape that does not hold them.
    """
    spaced = {cell: grid if spacing is None else grid.resampled(spacing) for cell, grid in grids.items()}
    first, *_ = spaced.values()
    if place == "box":
        largest = np.max([grid.shape for grid in spaced.values()], axis=0).tolist()
        return first.padded(shape or _rounded_up(largest, multiple))
    union = common_grid(list(grids.values()), spacing)
    times = math.prod(union.shape) / max(math.prod(grid.shape) for grid in spaced.values())
    if times > _SPARSE:
        centres = {cell: grid.corners().mean(0) for cell, grid in grids.items()}
        middle = np.median(list(centres.values()), axis=0)
        away = {cell: float(np.linalg.norm(centre - middle)) for cell, centre in centres.items()}
        far = max(away, key=lambda cell: away[cell])
        what = (
            f"its centre lies {away[far]:.0f} mm from that of most images, and one grid in mm for all would have "
            f"{times:.0f} times the voxels of the largest ({union}). Register the images, correct the header, or set "
            "'place: box' to stack images by the centres of their boxes"
        )
        raise CohortError(Problem(far, what))
    if shape is None:
        return union.padded(_rounded_up(union.shape, multiple))
    if len(shape) != len(union.shape) or any(new < old for new, old in zip(shape, union.shape, strict=True)):
        raise CohortError(f"shape {list(shape)} does not hold all images on one grid in mm, which is {union}")
    return union.padded(shape)


def _rounded_up(shape: Sequence[int], multiple: int) -> tuple[int, ...]:
    return tuple(math.ceil(int(size) / multiple) * multiple for size in shape)
