"""An image and its grid, and what is done to them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float32

from metavoxel.images.grid import Grid, Sampling


@final
@dataclass(frozen=True, eq=False)
class Image:
    """Intensities in single precision on a grid; ``data`` has the grid's shape."""

    data: Float32[np.ndarray, "*s"]
    grid: Grid

    def canonical(self) -> "Image":
        """The same image along canonical (RAS+) axes; nothing is interpolated."""
        order, backwards = self.grid.orientation()
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in backwards)
        return Image(np.ascontiguousarray(self.data.transpose(order)[steps]), self.grid.canonical())

    def resampled(self, spacing: float) -> "Image":
        """The image at isotropic ``spacing`` mm.

        Cubic convolution (Keys 1981) along each axis. Where the image gets coarser, the kernel is stretched by the
        ratio, so that it is the low-pass filter too: detail finer than the new grid is averaged away instead of being
        aliased. Intensities stay within those of the image, and outside they continue as at its edge.
        """
        data = self.data
        for axis, sampling in enumerate(self.grid.samplings(spacing)):
            if sampling.ratio != 1:
                weights = _cubic_weights(data.shape[axis], sampling)
                data = np.moveaxis(np.tensordot(weights, data, axes=(1, axis)), 0, axis)
        data = np.clip(data, self.data.min(), self.data.max())
        return Image(np.ascontiguousarray(data), self.grid.resampled(spacing))

    def padded(self, shape: Sequence[int]) -> "Image":
        """The image with zeros around it.

        Raises:
            ValueError: it is larger than ``shape``.
        """
        return Image(np.pad(self.data, self.grid.margins(shape)), self.grid.padded(shape))

    def scaled(self, percentiles: tuple[float, float]) -> "Image":
        """Intensities such that the two percentiles become 0 and 1; what lies beyond is clipped.

        Raises:
            ValueError: the two percentiles are one intensity.
        """
        low, high = np.percentile(self.data, percentiles)
        if not high > low:
            raise ValueError(
                f"percentiles {percentiles[0]:g} and {percentiles[1]:g} of its intensities are both {low:g}: "
                "the image is nearly constant. Widen 'percentiles', or leave the image out"
            )
        return Image(np.clip((self.data - low) / (high - low), 0, 1).astype(np.float32), self.grid)


def _cubic_weights(size: int, sampling: Sampling) -> Float32[np.ndarray, "new old"]:
    """Rows that sum to 1; voxels beyond an end lend their weight to the last one."""
    stretch = max(sampling.ratio, 1.0)
    centres = sampling.start + sampling.ratio * np.arange(sampling.size)
    reach = int(np.ceil(2 * stretch)) + 1
    taps = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)
    weights = _keys(np.abs(taps - centres[:, None]) / stretch)
    matrix = np.zeros((sampling.size, size))
    np.add.at(matrix, (np.arange(sampling.size)[:, None], np.clip(taps, 0, size - 1)), weights)
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


def _keys(x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Keys' kernel with a = -1/2, exact for quadratics."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
