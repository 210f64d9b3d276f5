"""Images with their grids, and operations on both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float32

from metavoxel.images.grid import Grid
from metavoxel.images.resampling import along_axes, covered, nearest, onto


@final
@dataclass(frozen=True, eq=False)
class Image:
    """Single-precision intensities on a grid; ``data`` has the grid's shape."""

    data: Float32[np.ndarray, "*s"]
    grid: Grid

    def canonical(self) -> "Image":
        """Reorient the image to canonical (RAS+) axes, without interpolation."""
        order, backwards = self.grid.orientation()
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in backwards)
        return Image(np.ascontiguousarray(self.data.transpose(order)[steps]), self.grid.canonical())

    def resampled(self, spacing: float) -> "Image":
        """Resample to isotropic ``spacing`` mm over the same field of view (:mod:`metavoxel.images.resampling`).

        Intensities stay within the range of the image; beyond its edge they are those of the edge.
        """
        data = along_axes(self.data, self.grid.samplings(spacing))
        return Image(np.ascontiguousarray(data), self.grid.resampled(spacing))

    def onto(self, grid: Grid, fill: float = 0.0, *, labels: bool = False) -> tuple["Image", Bool[np.ndarray, "*t"]]:
        """Resample onto another grid in mm, with one interpolation, and return the mask of covered voxels.

        Args:
            grid: target grid.
            fill: intensity of voxels outside the image's field of view.
            labels: use nearest-neighbour interpolation, since labels cannot be averaged.
        """
        data, inside = (nearest if labels else onto)(self.data, self.grid, grid, fill)
        return Image(data, grid), inside

    def padded(self, shape: Sequence[int], fill: float = 0.0) -> "Image":
        """Pad to ``shape`` with a margin of ``fill``.

        Raises:
            ValueError: the image is larger than ``shape``.
        """
        margins = self.grid.margins(shape)
        return Image(np.pad(self.data, margins, constant_values=fill), self.grid.padded(shape))

    def background(self) -> float:
        """Estimate the background intensity: the median over the outermost voxels, which are mostly air."""
        if min(self.data.shape) < 3:
            return float(np.median(self.data))
        faces = [np.take(self.data, end, axis).reshape(-1) for axis in range(self.data.ndim) for end in (0, -1)]
        return float(np.median(np.concatenate(faces)))

    def share_beyond(self, grid: Grid, background: float) -> float:
        """Compute the fraction of absolute contrast to the background outside another grid's field of view."""
        within = covered(grid, self.grid)
        if within.all():
            return 0.0
        contrast = np.abs(self.data - np.float32(background))
        total = float(contrast.sum(dtype=np.float64))
        return float(contrast[~within].sum(dtype=np.float64)) / total if total > 0 else 0.0

    def percentiles(
        self, ranks: tuple[float, float], inside: Bool[np.ndarray, "*s"] | None = None
    ) -> tuple[float, float]:
        """Compute two percentiles of the intensities, of all voxels or of those ``inside``.

        Raises:
            ValueError: both are the same intensity.
        """
        low, high = np.percentile(self.data if inside is None or inside.all() else self.data[inside], ranks)
        if not high > low:
            raise ValueError(
                f"percentiles {ranks[0]:g} and {ranks[1]:g} of its intensities are both {low:g}: "
                "the image is nearly constant. Widen 'percentiles', set 'intensities', or exclude the image"
            )
        return float(low), float(high)

    def scaled(self, low: float, high: float) -> "Image":
        """Rescale intensities so that ``low`` and ``high`` become 0 and 1, with clipping."""
        return Image(np.clip((self.data - low) / (high - low), 0, 1).astype(np.float32), self.grid)
