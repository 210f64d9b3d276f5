"""Distances between sets of volumes, by the features of their slices."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from sklearn.neighbors import NearestNeighbors

from metavoxel.evaluation.metrics.bootstrap import Estimate

NEIGHBOURS = 3
"""Of the manifolds of precision and recall (Kynkäänniemi et al. 2019)."""

ROUNDS = 60
"""Resamplings of volumes behind an interval, where the features are few; a fifth of it where they are many."""

MANY = 256

Planes = Sequence[Float[np.ndarray, "_ _ _"]]
"""For each plane the features of every volume's slices (n, m, f); planes differ in how many slices they have."""


class Spread(NamedTuple):
    """Precision and recall of generated volumes."""

    precision: float
    recall: float


def fewest_volumes(slices: int, features: int) -> int:
    """The smallest number of volumes of so many slices a plane that a Fréchet distance is taken of.

    A covariance of f features has full rank only from f + 1 slices on; below, the distance is of a degenerate normal
    and falls with the number of slices rather than with what is in them.
    """
    return max(2, math.ceil((features + 1) / slices))


def frechet(a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]) -> float:
    """|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½), of normals with these vectors' moments (Heusel et al. 2017, eq. 6).

    The trace of the root is the sum of the roots of the eigenvalues of Σ_a^½ Σ_b Σ_a^½, which is symmetric.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(mean @ mean + np.trace(first) + np.trace(second) - 2 * common)


def frechet_of_planes(generated: Planes, real: Planes) -> list[float]:
    """One distance a plane, of the features of all slices."""
    size = real[0].shape[2]
    return [frechet(a.reshape(-1, size), b.reshape(-1, size)) for a, b in zip(generated, real, strict=True)]


def fid(generated: Planes, real: Planes, *, seed: int = 0) -> Estimate:
    """The mean over planes (MAISI's 2.5-D FID), and an interval over volumes: ± 1.96 bootstrap standard deviations.

    Both sets of volumes are drawn anew, whole volumes at a time, for slices of one volume are not independent. A drawn
    set repeats volumes, so its own distance is too large; only the spread over rounds is used, and not its quantiles.
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
    """One vector a volume: the mean over slices of each plane's features, in standard deviations of ``like``."""
    means, scale = (np.concatenate([plane.mean(1) for plane in each], 1).astype(np.float64) for each in (planes, like))
    return (means - scale.mean(0)) / scale.std(0).clip(1e-9)


def kernel_distance(a: Float64[np.ndarray, "n p"], b: Float64[np.ndarray, "m p"]) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y / p + 1)³, without bias (Bińkowski et al. 2018): KID.

    Of whole volumes, so it needs no more than two of each, and is 0 on average (and may be negative) between sets of
    one distribution, whatever their numbers.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        found = kernel(x, x)
        return float((found.sum() - np.trace(found)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def precision_recall(generated: Float64[np.ndarray, "n p"], real: Float64[np.ndarray, "m p"]) -> Spread:
    """Share of generated volumes within the real ones' manifold, and of real ones within the generated one's.

    The manifold of a set is the union of balls about its members that reach their third neighbours (Kynkäänniemi et al.
    2019, eq. 1 to 3). Recall that is far below precision is a model that leaves out some of the population.
    """
    return Spread(_share_within(generated, real), _share_within(real, generated))


def _share_within(points: Float64[np.ndarray, "n p"], manifold: Float64[np.ndarray, "m p"]) -> float:
    count = min(NEIGHBOURS, len(manifold) - 1)
    reach = NearestNeighbors(n_neighbors=count + 1).fit(manifold).kneighbors(manifold)[0][:, -1]
    apart = np.linalg.norm(points[:, None] - manifold[None], axis=2)
    return float((apart <= reach).any(1).mean())
