"""Grid of the model, determined from the grids of the cohort's files."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metavoxel.errors import CohortError, Problem
from metavoxel.images.common_grid import Spread, common_grid, commonest, spread
from metavoxel.images.files import Header, is_picture
from metavoxel.images.grid import Grid
from metavoxel.parts.variables.headers import read_headers
from metavoxel.parts.variables.placement import Place

NOT_ORIENTED = (
    "no orientation in the header (NIfTI: sform and qform codes 0), so that left and right may be swapped between "
    "subjects; write the orientation into it"
)
_MAX_SPREAD = Spread(centres=5.0, angle=2.0)
"""Offsets in mm and rotations in degrees that cropping explains among images of one space."""
_SPARSE = 8
"""Maximum size of a common grid relative to the largest image; beyond, most of it would be padding."""


def usual_place(headers: Mapping[str, Header]) -> Place:
    """Return the default of ``place``: "world" if any header has an orientation, else "box"."""
    return "world" if any(header.oriented for header in headers.values()) else "box"


def unoriented(headers: Mapping[str, Header], place: Place) -> Iterator[Problem]:
    """Yield a problem if headers lack an orientation that other headers have or a grid in mm requires."""
    unknown = [cell for cell, header in headers.items() if not header.oriented]
    if unknown and (place == "world" or len(unknown) < len(headers)):
        yield Problem(unknown[0], f"is one of {len(unknown)} (of {len(headers)}) files: {NOT_ORIENTED}")


def misfits(headers: Mapping[str, Header], spacing: float | None, place: Place) -> Iterator[Problem]:
    """Yield problems of files with an unusual number of axes, plane or spacing, or without orientation."""
    if not headers:
        return
    grids = {cell: header.grid for cell, header in headers.items()}
    if spacing is not None:
        yield from _single_voxel(grids, spacing)
    usual_axes = Counter(len(grid.shape) for grid in grids.values()).most_common(1)[0][0]
    yield from unoriented(
        {cell: header for cell, header in headers.items() if len(header.grid.shape) == usual_axes}, place
    )
    comparable = [grid for grid in grids.values() if len(grid.shape) == usual_axes]
    usual = _usual(comparable, place)
    for cell, grid in grids.items():
        if len(grid.shape) != usual_axes:
            yield Problem(cell, f"has {len(grid.shape)} axes where most images of this variable have {usual_axes}")
        elif place == "world" and usual_axes == 2 and not _in_one_plane(grid, usual):
            yield Problem(cell, "is a slice in another plane than most images; 'place: box' ignores the plane")
        elif spacing is None and not (grid.agrees(usual) if place == "box" else grid.spaced_as(usual)):
            yield Problem(
                cell, f"is {grid}, while most images are {usual}; set 'spacing' to resample them all to one grid"
            )


def _single_voxel(grids: Mapping[str, Grid], spacing: float) -> Iterator[Problem]:
    """Yield a problem for files that this spacing would reduce to one voxel."""
    widest = {cell: float(np.max(np.multiply(grid.shape, grid.spacing))) for cell, grid in grids.items()}
    small = [cell for cell, width in widest.items() if width <= spacing]
    if small:
        which = f"is one of {len(small)} (of {len(grids)}) files that" if len(small) > 1 else "is an image that"
        yield Problem(
            small[0],
            f"{which} 'spacing: {spacing:g}' would reduce to one voxel: it is {widest[small[0]]:g} mm wide "
            f"({grids[small[0]]}). 'spacing' is in mm, for any unit in the files",
        )


def _usual(grids: Sequence[Grid], place: Place) -> Grid:
    """Return the most common grid."""
    if place == "world":
        return commonest(grids)
    most = Counter(map(str, grids)).most_common(1)[0][0]
    return next(grid for grid in grids if str(grid) == most)


def _in_one_plane(grid: Grid, usual: Grid) -> bool:
    """Return whether the normals of two slices differ by less than 10 degrees."""
    return bool(abs(grid.directions()[:, 2] @ usual.directions()[:, 2]) > np.cos(np.deg2rad(10)))


def position_warnings(cells: Sequence[str], place: Place | None) -> Iterator[str]:
    """Yield warnings about readable files without orientation, and about positions that cropping does not explain."""
    headers, _ = read_headers(cells)
    unknown = [cell for cell, header in headers.items() if not header.oriented and not is_picture(cell)]
    if unknown:
        yield (
            f"{len(unknown)} of {len(headers)} files have no orientation (sform and qform codes 0), such as "
            f"{unknown[0]}: left and right are taken as stored. Images are stacked by the centres of their boxes"
        )
    apart = spread([header.grid for header in headers.values()])
    if place == "world" and (apart.centres > _MAX_SPREAD.centres or apart.angle > _MAX_SPREAD.angle):
        yield (
            f"by their headers, centres lie up to {apart.centres:.0f} mm from their mean and axes are turned by up to "
            f"{apart.angle:.0f} degrees. This is correct for heads that are registered in mm and cropped; heads in "
            "scanner coordinates should be registered first, or stacked by the centres of their boxes (place: box)"
        )


def cohort_grid(
    grids: Mapping[str, Grid], spacing: float | None, place: Place, shape: tuple[int, ...] | None, multiple: int
) -> Grid:
    """Return the grid that all images are resampled to, with margins; it contains every image.

    Args:
        grids: canonical grids by file, without misfits.
        spacing: isotropic spacing in mm; by default that of the images.
        place: 'world' for one grid in mm; 'box' for a grid of the size of the largest image, aligned with the first.
        shape: voxels along each axis; by default the smallest that suffices.
        multiple: number of which the axis lengths must be multiples.

    Raises:
        CohortError: the images are too far apart for one grid, or larger than ``shape``.
    """
    spaced = {cell: grid if spacing is None else grid.resampled(spacing) for cell, grid in grids.items()}
    first, *_ = spaced.values()
    if place == "box":
        largest = np.max([grid.shape for grid in spaced.values()], axis=0).tolist()
        return first.padded(shape or _rounded_up(largest, multiple))
    union = common_grid(list(grids.values()), spacing)
    ratio = math.prod(union.shape) / max(math.prod(grid.shape) for grid in spaced.values())
    if ratio > _SPARSE:
        centres = {cell: grid.corners().mean(0) for cell, grid in grids.items()}
        middle = np.median(list(centres.values()), axis=0)
        distance = {cell: float(np.linalg.norm(centre - middle)) for cell, centre in centres.items()}
        far = max(distance, key=lambda cell: distance[cell])
        what = (
            f"its centre lies {distance[far]:.0f} mm from that of most images, and one grid in mm for all would have "
            f"{ratio:.0f} times the voxels of the largest ({union}). Register the images, correct the header, or set "
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
