"""Distances between sets of volumes, from the features of their slices."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from sklearn.neighbors import NearestNeighbors

from metavoxel.evaluation.metrics.bootstrap import Estimate

NEIGHBOURS = 3
"""Nearest neighbours that define the manifolds of precision and recall (Kynkäänniemi et al. 2019)."""

ROUNDS = 60
"""Bootstrap resamples of volumes for an interval; a fifth of them above ``MANY`` features."""

MANY = 256

Planes = Sequence[Float[np.ndarray, "_ _ _"]]
"""For each plane, features of every volume's slices (n, m, f); the number of slices m differs between planes."""


class Spread(NamedTuple):
    """Precision and recall of generated volumes."""

    precision: float
    recall: float


def fewest_volumes(slices: int, features: int) -> int:
    """Smallest number of volumes, with ``slices`` per plane, for a Fréchet distance.

    A covariance of f features has full rank only from f + 1 slices on; below, the distance is that of a degenerate
    Gaussian and depends on the number of slices rather than on their content.
    """
    return max(2, math.ceil((features + 1) / slices))


def frechet(a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]) -> float:
    """Fréchet distance of Gaussians with the samples' moments (Heusel et al. 2017, eq. 6).

    It is |μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½). The trace of the root is the sum of the roots of the eigenvalues
    of Σ_a^½ Σ_b Σ_a^½, which is symmetric.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(mean @ mean + np.trace(first) + np.trace(second) - 2 * common)


def frechet_of_planes(generated: Planes, real: Planes) -> list[float]:
    """One Fréchet distance per plane, between the features of all slices."""
    size = real[0].shape[2]
    return [frechet(a.reshape(-1, size), b.reshape(-1, size)) for a, b in zip(generated, real, strict=True)]


def fid(generated: Planes, real: Planes, *, seed: int = 0) -> Estimate:
    """Mean over planes (MAISI's 2.5-D FID), with an interval of ± 1.96 bootstrap standard deviations over volumes.

    Both sets are resampled by whole volumes, because slices of one volume are dependent. Repeated volumes bias the
    distance of a resample upwards, so only the standard deviation over resamples is used, not their quantiles.
    """
    value = float(np.mean(frechet_of_planes(generated, real)))
    generator = np.random.default_rng(seed)
    rounds = ROUNDS if real[0].shape[2] <= MANY else ROUNDS // 5
    found = []
    for _ in range(rounds):
        drawn = [generator.integers(0, len(planes[0]), len(planes[0])) for planes in (generated, real)]
        parts = ([plane[rows] for plane in planes] for planes, rows in zip((generated, real), drawn, strict=True))
        found.append(np.mean(frechet_of_planes(*parts)))
    half = 1.96 * float(np.std(found, ddof=1))
    return Estimate(value, max(0.0, value - half), value + half)


def volume_vectors(planes: Planes, like: Planes) -> Float64[np.ndarray, "n p"]:
    """One vector per volume: the mean over slices of each plane's features, standardised by those of ``like``."""
    means, scale = (np.concatenate([plane.mean(1) for plane in each], 1).astype(np.float64) for each in (planes, like))
    return (means - scale.mean(0)) / scale.std(0).clip(1e-9)


def kernel_distance(a: Float64[np.ndarray, "n p"], b: Float64[np.ndarray, "m p"]) -> float:
    """Kernel inception distance (KID): unbiased squared MMD with kernel (x·y / p + 1)³ (Bińkowski et al. 2018).

    It is computed on volumes, at least two per set. Its expectation between sets of one distribution is 0 for any set
    sizes, so it may be negative.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        found = kernel(x, x)
        return float((found.sum() - np.trace(found)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def precision_recall(generated: Float64[np.ndarray, "n p"], real: Float64[np.ndarray, "m p"]) -> Spread:
    """Share of generated volumes within the manifold of the real ones, and of real within that of the generated ones.

    The manifold of a set is the union of balls about its members that reach their third neighbours (Kynkäänniemi et al.
    2019, eq. 1 to 3). Recall far below precision indicates that part of the population is not generated.
    """
    return Spread(_share_within(generated, real), _share_within(real, generated))


def _share_within(points: Float64[np.ndarray, "n p"], manifold: Float64[np.ndarray, "m p"]) -> float:
    count = min(NEIGHBOURS, len(manifold) - 1)
    reach = NearestNeighbors(n_neighbors=count + 1).fit(manifold).kneighbors(manifold)[0][:, -1]
    apart = np.linalg.norm(points[:, None] - manifold[None], axis=2)
    return float((apart <= reach).any(1).mean())
