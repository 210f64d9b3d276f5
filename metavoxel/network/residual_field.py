"""What principal components leave over of the images on one grid: a stationary normal field, and its Wiener filter."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from metavoxel.typing import AnyCode, Code

REACH = 6
"""Cells from which on two cells have nothing to do with each other."""
PADDING = REACH // 2
"""Cells beyond an image's end that keep one end from telling of the other."""
LEAST_VARIANCE = 1e-4
ITERATIONS = 8
"""Of conjugate gradients: after four the error is within a hundredth of its least at most noise levels, after eight at
all."""
TINY = 1e-20


class Noisy(NamedTuple):
    """An image as it is seen, signal x_0 + noise e, and what is expected of x_0 by its components.

    ``signal`` and ``noise`` are one number a row, or one a cell.
    """

    x: AnyCode
    fitted: AnyCode
    signal: AnyCode
    noise: AnyCode


class CodeEstimate(NamedTuple):
    """What is expected of a code, and of the noise in it."""

    x0_hat: AnyCode
    noise_hat: AnyCode


class ResidualField(nn.Module):
    """Images of one grid, less what their components make of them, as one normal field: cells near each other, of one
    image and of several, go together, and in the same way everywhere. Final.

    Such a field's covariance is diagonal in frequency but for channels (Wiener 1949): C(w) is a small matrix, and what
    is expected of the field given signals A and noises N is C A (A C A + N)^-1 of what is seen, at each frequency. So
    detail is smoothed no more than it has to be, and what lies at one place of one contrast tells of the other there,
    which a few dozen components of a small cohort cannot.

    One image of one noise is filtered so. Where noise differs from image to image or from cell to cell, part of an
    image being known, the same linear system is solved by conjugate gradients (Hestenes and Stiefel 1952).

    Args:
        channels: of each image's code.
        grid: that they share.
    """

    def __init__(self, channels: Sequence[int], grid: tuple[int, ...]) -> None:
        super().__init__()
        self._channels, self._grid = tuple(channels), tuple(grid)
        self._axes = tuple(range(-len(grid), 0))
        self._padded = tuple(size + PADDING for size in grid)
        frequencies = math.prod(self._padded[:-1]) * (self._padded[-1] // 2 + 1)
        total = sum(channels)
        self.register_buffer("values", torch.ones(frequencies, total))
        self.register_buffer("vectors", torch.view_as_real(torch.eye(total) * torch.ones(frequencies, 1, 1) + 0j))
        self.register_buffer("variances", torch.ones(total))
        self.values: Tensor
        self.vectors: Tensor
        self.variances: Tensor

    def fit(
        self,
        batches: Iterable[tuple[Sequence[AnyCode], Sequence[Bool[Tensor, "_"]]]],
        uncertainty: Float[Tensor, "c"] | None = None,
    ) -> None:
        """Take the covariances of what was left over in rows that the components have not seen.

        They are those of cells less than ``REACH`` apart, less with their distance (Bartlett 1950), so that no
        frequency of few rows has more in it than chance.

        Args:
            batches: rows of every image, and which rows have that image.
            uncertainty: variance of each channel's cells beside it, white: that of the draws of an uncertain codec.
                None by default.
        """
        owner = torch.repeat_interleave(torch.arange(len(self._channels)), torch.tensor(self._channels))
        total, images_there = len(owner), len(self._channels)
        sums = torch.zeros(len(self.values), total, total, dtype=torch.complex64)
        counts = torch.zeros(images_there, images_there)
        for images, present in batches:
            here = torch.stack(list(present), 1)
            if not len(here):
                continue
            there = torch.repeat_interleave(here, torch.tensor(self._channels), 1)
            maps = torch.where(there.reshape(*there.shape, *[1] * len(self._grid)), torch.cat(list(images), 1), 0.0)
            seen = self._frequencies(maps)
            sums += seen @ seen.mH
            counts += here.float().T @ here.float()
        if not counts.diagonal().all():
            return
        spectrum = sums / (counts[owner][:, owner].clamp_min(1) * math.prod(self._grid))
        covariances = self._windowed(spectrum)
        white = torch.zeros(total) if uncertainty is None else uncertainty
        self.variances.copy_((covariances.flatten(2)[:, :, 0].diagonal() + white).clamp_min(LEAST_VARIANCE))
        found = torch.fft.rfftn(covariances, dim=self._axes).flatten(2).permute(2, 0, 1) + torch.diag(white)
        values, vectors = torch.linalg.eigh((found + found.mH) / 2)
        self.values.copy_(values.clamp_min(LEAST_VARIANCE))
        self.vectors.copy_(torch.view_as_real(vectors))

    def _windowed(self, spectrum: Complex[Tensor, "f c c"]) -> Float[Tensor, "c c *s"]:
        """Covariances by offset, which end at ``REACH``."""
        half = (*self._padded[:-1], self._padded[-1] // 2 + 1)
        maps = spectrum.permute(1, 2, 0).reshape(*spectrum.shape[1:], *half)
        covariances = torch.fft.irfftn(maps, s=self._padded, dim=self._axes)
        for axis, size in zip(self._axes, self._padded, strict=True):
            offset = torch.arange(size)
            weight = (1 - torch.minimum(offset, size - offset) / REACH).clamp_min(0)
            covariances = covariances * weight.reshape(-1, *[1] * (-1 - axis))
        return covariances

    def _frequencies(self, maps: Float[Tensor, "b c *s"]) -> Complex[Tensor, "f c b"]:
        return torch.fft.rfftn(maps, s=self._padded, dim=self._axes).flatten(2).permute(2, 1, 0)

    def _cells(self, seen: Complex[Tensor, "f c b"]) -> Float[Tensor, "b c *s"]:
        half = (*self._padded[:-1], self._padded[-1] // 2 + 1)
        maps = seen.permute(2, 1, 0).reshape(seen.shape[2], seen.shape[1], *half)
        whole = torch.fft.irfftn(maps, s=self._padded, dim=self._axes)
        return whole[(..., *(slice(size) for size in self._grid))]

    def forward(self, images: Sequence[Noisy]) -> list[CodeEstimate]:
        """What is expected of every image and of the noise in it, given all of them."""
        with torch.autocast(images[0].x.device.type, enabled=False):
            signal, noise = (
                torch.cat([self._spread(getattr(image, name), image.x) for image in images], 1)
                for name in ("signal", "noise")
            )
            misfit = torch.cat([(image.x - image.signal * image.fitted).float() for image in images], 1)
            one = len(self._channels) == 1
            even = _even(signal) & _even(noise) if one else misfit.new_zeros(len(misfit), dtype=torch.bool)
            left, noisy = torch.empty_like(misfit), torch.empty_like(misfit)
            for rows, solve in ((even, self._filtered), (~even, self._solved)):
                if rows.any():
                    left[rows], noisy[rows] = solve(misfit[rows], signal[rows], noise[rows])
            parts = zip(images, left.split(self._channels, 1), noisy.split(self._channels, 1), strict=True)
            return [CodeEstimate((image.fitted + e).to(image.x), n.to(image.x)) for image, e, n in parts]

    def _spread(self, scale: AnyCode, x: AnyCode) -> AnyCode:
        return scale.to(x.device).float().expand(len(x), x.shape[1], *self._grid)

    def _filtered(self, misfit: Code, signal: Code, noise: Code) -> tuple[Code, Code]:
        """Rows of one image that is as noisy in all cells: the directions of C are those of A C A + N."""
        seen, vectors = self._frequencies(misfit), torch.view_as_complex(self.vectors)
        a, n = (scale.flatten(1)[:, 0] for scale in (signal, noise))
        weighted = vectors.mH @ seen / (a.square() * self.values[:, :, None] + n.square())
        return self._cells(vectors @ (a * self.values[:, :, None] * weighted)), self._cells(vectors @ (n * weighted))

    def _solved(self, misfit: Code, signal: Code, noise: Code) -> tuple[Code, Code]:
        """Rows of any noise of any cell."""
        vectors = torch.view_as_complex(self.vectors)
        spectrum = (vectors * self.values[:, None]) @ vectors.mH

        def covered(maps: Code) -> Code:
            return self._cells(spectrum @ self._frequencies(maps))

        alone = signal.square() * self.variances.reshape(1, -1, *[1] * len(self._grid))
        diagonal = alone + noise.square()
        solution, rest = torch.zeros_like(misfit), misfit
        direction = scaled = rest / diagonal
        size = _sums(rest * scaled)
        for _ in range(ITERATIONS):
            image = signal * covered(signal * direction) + noise.square() * direction
            step = size / _sums(direction * image).clamp_min(TINY)
            solution, rest = solution + step * direction, rest - step * image
            scaled = rest / diagonal
            before, size = size, _sums(rest * scaled)
            direction = scaled + size / before.clamp_min(TINY) * direction
        # Both say the same of an exact solution; of one stopped early, the second errs less where noise is little.
        field = covered(signal * solution)
        clear = noise.square() < alone
        field = torch.where(clear, (misfit - noise.square() * solution) / torch.where(clear, signal, 1.0), field)
        return field, noise * solution


def _sums(maps: Code) -> Float[Tensor, "b 1 *o"]:
    """Of each row, shaped to multiply it."""
    return maps.flatten(1).sum(1).reshape(-1, *[1] * (maps.ndim - 1))


def _even(scale: Code) -> Bool[Tensor, "b"]:
    """Which rows have one number in all cells of a channel."""
    cells = scale.flatten(2)
    return (cells == cells[:, :, :1]).flatten(1).all(1)
