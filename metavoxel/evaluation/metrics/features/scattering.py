"""Features without learnt weights: a wavelet scattering transform."""

import functools
import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.evaluation.metrics.features.base import AbstractImageFeatures

SCALES = 4
ANGLES = 4
FLOOR = 1e-3
"""Added before the logarithm; much smaller coefficients of an image in [0, 1] are noise."""


@final
class Scattering(AbstractImageFeatures):
    """Logarithm of the slice-averaged scattering coefficients of orders 0, 1 and 2.

    A slice is convolved with Morlet wavelets of 4 scales (each twice as wide) and 4 angles, and the modulus is taken.
    Each modulus is convolved with the wider wavelets, and the modulus is taken again. All are averaged: 1 + 16 + 96
    numbers (Bruna and Mallat 2013, Invariant scattering convolution networks, IEEE TPAMI 35). Convolutions are
    periodic. The features measure texture and contrast at scales of 2 to 32 voxels, and anatomy less than those of a
    network trained on scans.
    """

    @property
    def name(self) -> str:
        return "scattering-1"

    @property
    def description(self) -> str:
        return (
            "scattering-1: logarithm of a wavelet scattering transform of 4 scales and 4 angles, averaged over the "
            "slice. It requires no weights, unlike RadImageNet; values are comparable only with those of scattering-1"
        )

    @property
    def size(self) -> int:
        return 1 + SCALES * ANGLES + ANGLES**2 * SCALES * (SCALES - 1) // 2

    def describe(self, slices: Float[Tensor, "n h w"]) -> Float[Tensor, "n f"]:
        wavelets = morlets(slices.shape[1], slices.shape[2]).to(slices.device)
        orders: list[list[Tensor]] = [[slices.mean((1, 2))[:, None]], [], []]
        spectrum = torch.fft.fft2(slices)
        for scale in range(SCALES):
            first = torch.fft.ifft2(spectrum[:, None] * wavelets[scale]).abs()
            orders[1].append(first.mean((2, 3)))
            again = torch.fft.fft2(first)
            for wider in range(scale + 1, SCALES):
                for angle in range(ANGLES):
                    orders[2].append(torch.fft.ifft2(again * wavelets[wider, angle]).abs().mean((2, 3)))
        return torch.log(torch.cat([part for order in orders for part in order], 1) + FLOOR)


@functools.lru_cache(maxsize=8)
def morlets(height: int, width: int) -> Float[Tensor, "scales angles h w"]:
    """Real Fourier transforms of the wavelets: Gaussians about the wavelet's frequency, corrected to vanish at 0.

    Frequency 3π/4 at the finest scale, envelope of 0.8 voxels along the wave and twice that across (as in Kymatio,
    Andreux et al. 2020), all doubling with the scale.
    """
    fy, fx = (2 * math.pi * torch.fft.fftfreq(size, dtype=torch.float64) for size in (height, width))
    fy, fx = fy[:, None], fx[None]
    bank = torch.empty(SCALES, ANGLES, height, width, dtype=torch.float64)
    for scale in range(SCALES):
        sigma, frequency = 0.8 * 2**scale, 0.75 * math.pi / 2**scale
        for angle in range(ANGLES):
            turn = math.pi * angle / ANGLES
            along, across = fx * math.cos(turn) + fy * math.sin(turn), fy * math.cos(turn) - fx * math.sin(turn)
            envelope = (2 * across) ** 2

            def bump(along: Tensor, envelope: Tensor = envelope, sigma: float = sigma) -> Tensor:
                return torch.exp(-(sigma**2) / 2 * (along**2 + envelope))

            bank[scale, angle] = bump(along - frequency) - math.exp(-((sigma * frequency) ** 2) / 2) * bump(along)
    return bank.float()
