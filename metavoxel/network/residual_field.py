"""The residual of images on one grid as a stationary Gaussian random field, and its posterior mean.

The codes of all images on a grid are x_0 = fit + e: ``fit`` is the reconstruction from their principal components, and
e, all channels of all images in each cell, is a stationary Gaussian random field with covariance C. C is diagonal in
frequency up to channels: at each frequency it is a small Hermitian matrix, sum_c values_c vectors_c vectors_c^H.
States are x_t = A x_0 + N z, with diagonal signal A and noise N. With the residual state y = x_t - A fit,

    s = (A C A + N^2)^-1 y,                                                                                      (1)
    E[e | x_t] = C A s,    E[z | x_t] = N s.                                                                     (2)

For one image with equal signal a and noise n in all cells, (1) is diagonal in the eigenvectors of C, if y is taken as 0
in padding cells: the Wiener filter (Wiener 1949), with gain a values / (a^2 values + n^2). Otherwise (1) is solved by
conjugate gradients (Hestenes and Stiefel 1952), preconditioned by the diagonal a^2 var(e) + n^2. The exact solution has
A C A s = y - N^2 s, so that E[e | x_t] is also

    A^-1 (y - N^2 s),                                                                                            (3)

which for an inexact s has the smaller error where the noise is small, n^2 < a^2 var(e).

Covariances are estimated at offsets below ``REACH`` cells, with a triangular window (Bartlett 1950).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex, Float, Int64
from torch import Tensor, nn

from metavoxel.typing import AnyCode, Code

REACH = 6
"""Distance in cells from which on the covariance is 0."""
PADDING = REACH // 2
"""Cells appended to each axis, against the periodicity of the Fourier transform."""
LEAST_VARIANCE = 1e-4
ITERATIONS = 8
"""Conjugate gradient iterations: after four the error is within 1 % of its minimum at most noise levels, after eight at
all."""
TINY = 1e-20


class Noisy(NamedTuple):
    """A noisy image, x = signal x_0 + noise z, and its reconstruction from components, ``fitted``.

    ``signal`` and ``noise`` have one number per row, or one per cell.
    """

    x: AnyCode
    fitted: AnyCode
    signal: AnyCode
    noise: AnyCode


class CodeEstimate(NamedTuple):
    """Posterior means of a code and of the noise in its state."""

    x0_hat: AnyCode
    noise_hat: AnyCode


class AbstractFieldFit(ABC):
    """A fit of a field to residuals that are added batch by batch."""

    @abstractmethod
    def add(self, images: Sequence[AnyCode], present: Sequence[Bool[Tensor, "_"]]) -> None:
        """Add the residuals of every image in some rows, and which of these rows have that image."""

    @abstractmethod
    def finish(self, uncertainty: Float[Tensor, "c"] | None = None) -> None:
        """Set the field to the estimate from all that was added. Nothing changes if any image was in no row.

        Args:
            uncertainty: variance of white noise added to each channel, that of the codec's posterior; 0 by default.
        """


class ResidualField(nn.Module):
    """Residuals of images on one grid as a stationary Gaussian random field over all their channels. Final.

    Its posterior mean keeps detail that a few dozen components of a small cohort cannot represent, and predicts the
    detail of one contrast from another's at the same place.

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
        identity = torch.eye(total).expand(frequencies, total, total)
        self.register_buffer("vectors", torch.stack([identity, torch.zeros_like(identity)], -1))
        self.register_buffer("variances", torch.ones(total))
        self.values: Tensor
        self.vectors: Tensor
        self.variances: Tensor

    def begin_fit(self) -> "ResidualFit":
        """Begin to estimate C from residuals of held-out rows."""
        return ResidualFit(self)

    def estimate(
        self,
        sums: Complex[Tensor, "f c c"],
        counts: Float[Tensor, "i i"],
        uncertainty: Float[Tensor, "c"] | None = None,
    ) -> None:
        """Estimate C; the window keeps spectra of few rows from overfitting.

        Args:
            sums: products of the amplitudes of all channels, summed over rows.
            counts: number of rows that have each pair of images.
            uncertainty: variance of white noise added to each channel, that of the codec's posterior; 0 by default.
        """
        owner = self.owners
        spectrum = sums / (counts[owner][:, owner].clamp_min(1) * math.prod(self._grid))
        covariances = self._windowed(spectrum)
        white = torch.zeros(len(owner)) if uncertainty is None else uncertainty
        self.variances.copy_((covariances.flatten(2)[:, :, 0].diagonal() + white).clamp_min(LEAST_VARIANCE))
        found = torch.fft.rfftn(covariances, dim=self._axes).flatten(2).permute(2, 0, 1) + torch.diag(white)
        values, vectors = torch.linalg.eigh((found + found.mH) / 2)
        self.values.copy_(values.clamp_min(LEAST_VARIANCE))
        self.vectors.copy_(torch.view_as_real(vectors))

    @property
    def owners(self) -> Int64[Tensor, "c"]:
        """Image of each channel."""
        return torch.repeat_interleave(torch.arange(len(self._channels)), torch.tensor(self._channels))

    def _windowed(self, spectrum: Complex[Tensor, "f c c"]) -> Float[Tensor, "c c *s"]:
        """Return covariances by offset, windowed to offsets below ``REACH``."""
        half = (*self._padded[:-1], self._padded[-1] // 2 + 1)
        maps = spectrum.permute(1, 2, 0).reshape(*spectrum.shape[1:], *half)
        covariances = torch.fft.irfftn(maps, s=self._padded, dim=self._axes)
        for axis, size in zip(self._axes, self._padded, strict=True):
            offset = torch.arange(size)
            weight = (1 - torch.minimum(offset, size - offset) / REACH).clamp_min(0)
            covariances = covariances * weight.reshape(-1, *[1] * (-1 - axis))
        return covariances

    def frequencies(self, maps: Float[Tensor, "b c *s"]) -> Complex[Tensor, "f c b"]:
        """Return the Fourier transform of zero-padded maps."""
        return torch.fft.rfftn(maps, s=self._padded, dim=self._axes).flatten(2).permute(2, 1, 0)

    def _cells(self, amplitudes: Complex[Tensor, "f c b"]) -> Float[Tensor, "b c *s"]:
        """Return the inverse Fourier transform, without padding."""
        half = (*self._padded[:-1], self._padded[-1] // 2 + 1)
        maps = amplitudes.permute(2, 1, 0).reshape(amplitudes.shape[2], amplitudes.shape[1], *half)
        whole = torch.fft.irfftn(maps, s=self._padded, dim=self._axes)
        return whole[(..., *(slice(size) for size in self._grid))]

    def forward(self, images: Sequence[Noisy]) -> list[CodeEstimate]:
        """Return the posterior mean of every image's code and noise given all of them, eq. (2)."""
        with torch.autocast(images[0].x.device.type, enabled=False):
            signal, noise = (
                torch.cat([self._per_cell(getattr(image, name), image.x) for image in images], 1)
                for name in ("signal", "noise")
            )
            misfit = torch.cat([(image.x - image.signal * image.fitted).float() for image in images], 1)
            single = len(self._channels) == 1
            uniform = _uniform(signal) & _uniform(noise) if single else misfit.new_zeros(len(misfit), dtype=torch.bool)
            field, noise_hat = torch.empty_like(misfit), torch.empty_like(misfit)
            for rows, solve in ((uniform, self._filtered), (~uniform, self._solved)):
                if rows.any():
                    field[rows], noise_hat[rows] = solve(misfit[rows], signal[rows], noise[rows])
            parts = zip(images, field.split(self._channels, 1), noise_hat.split(self._channels, 1), strict=True)
            return [CodeEstimate((image.fitted + e).to(image.x), z.to(image.x)) for image, e, z in parts]

    def _per_cell(self, scale: AnyCode, x: AnyCode) -> AnyCode:
        return scale.to(x.device).float().expand(len(x), x.shape[1], *self._grid)

    def _filtered(self, misfit: Code, signal: Code, noise: Code) -> tuple[Code, Code]:
        """Return eq. (2) by the Wiener filter, for rows of one image with equal signal and noise in all cells."""
        amplitudes, vectors = self.frequencies(misfit), torch.view_as_complex(self.vectors)
        a, n = (scale.flatten(1)[:, 0] for scale in (signal, noise))
        weighted = vectors.mH @ amplitudes / (a.square() * self.values[:, :, None] + n.square())
        return self._cells(vectors @ (a * self.values[:, :, None] * weighted)), self._cells(vectors @ (n * weighted))

    def _solved(self, misfit: Code, signal: Code, noise: Code) -> tuple[Code, Code]:
        """Return eq. (2) or (3) by conjugate gradients, for any signal and noise."""
        vectors = torch.view_as_complex(self.vectors)
        spectrum = (vectors * self.values[:, None]) @ vectors.mH

        def times_covariance(maps: Code) -> Code:
            return self._cells(spectrum @ self.frequencies(maps))

        signal_variance = signal.square() * self.variances.reshape(1, -1, *[1] * len(self._grid))
        diagonal = signal_variance + noise.square()
        solution, rest = torch.zeros_like(misfit), misfit
        direction = scaled = rest / diagonal
        size = _sums(rest * scaled)
        for _ in range(ITERATIONS):
            image = signal * times_covariance(signal * direction) + noise.square() * direction
            step = size / _sums(direction * image).clamp_min(TINY)
            solution, rest = solution + step * direction, rest - step * image
            scaled = rest / diagonal
            before, size = size, _sums(rest * scaled)
            direction = scaled + size / before.clamp_min(TINY) * direction
        field = times_covariance(signal * solution)
        clear = noise.square() < signal_variance
        field = torch.where(clear, (misfit - noise.square() * solution) / torch.where(clear, signal, 1.0), field)
        return field, noise * solution


class ResidualFit(AbstractFieldFit):
    """A fit of one residual field, whose memory does not depend on the number of rows. Final."""

    def __init__(self, field: ResidualField) -> None:
        self._field, self._owners = field, field.owners
        total, images = len(self._owners), int(self._owners.max()) + 1
        self._sums = torch.zeros(len(field.values), total, total, dtype=torch.complex64)
        self._counts = torch.zeros(images, images)

    def add(self, images: Sequence[AnyCode], present: Sequence[Bool[Tensor, "_"]]) -> None:
        here = torch.stack(list(present), 1)
        if not len(here):
            return
        maps = torch.cat(list(images), 1)
        there = here[:, self._owners].reshape(*maps.shape[:2], *[1] * (maps.ndim - 2))
        amplitudes = self._field.frequencies(torch.where(there, maps, 0.0))
        self._sums += amplitudes @ amplitudes.mH
        self._counts += here.float().T @ here.float()

    def finish(self, uncertainty: Float[Tensor, "c"] | None = None) -> None:
        if self._counts.diagonal().all():
            self._field.estimate(self._sums, self._counts, uncertainty)


def _sums(maps: Code) -> Float[Tensor, "b 1 *o"]:
    """Return the sum of each row, broadcastable against it."""
    return maps.flatten(1).sum(1).reshape(-1, *[1] * (maps.ndim - 1))


def _uniform(scale: Code) -> Bool[Tensor, "b"]:
    """Return the rows with one number in all cells of each channel."""
    cells = scale.flatten(2)
    return (cells == cells[:, :, :1]).flatten(1).all(1)
