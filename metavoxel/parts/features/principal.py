"""Principal components of rows that may be larger than memory, in a few passes over blocks of them.

With deviations D from the mean (n rows of d cells), the components are eigenvectors of D'D. They are found from

    D D' (n x n),    if n is small: an eigenvector v with eigenvalue l gives the direction D'v / sqrt(l),           (1)
    D'D (d x d),     if d is small,                                                                             (2)
    Q'D'D Q,         otherwise, with Q an orthonormal basis of (D'D)^q W for random W: randomised subspace
                     iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4).                               (3)

Eigenvalues of (1) and (2) are those of a singular value decomposition to rounding. In (3) memory is that of a few times
``count`` rows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.features.rows import Rows
from metavoxel.rng import Rng

MOST_PRODUCTS = 2048
"""Number of rows, or of cells, up to which eq. (1) and (2) are used."""
OVERSAMPLED, ITERATIONS = 16, 4
"""Columns of W in excess of the components, and q of eq. (3)."""


class Principal(NamedTuple):
    """Mean, directions of greatest variance, variances along them, and mean variance of a cell along all others."""

    center: Float[Tensor, "d"]
    directions: Float[Tensor, "k d"]
    variances: Float[Tensor, "k"]
    residual: Float[Tensor, ""]


def principal(rows: Rows, count: int) -> Principal:
    """Return the leading ``count`` principal components of rows, at most as many as rows or cells."""
    center = _mean(rows)
    if len(rows) <= min(MOST_PRODUCTS, len(center)):
        spreads, directions, total = _from_products(rows, center, count)
    else:
        spreads, directions, total = _from_basis(rows, center, count)
    variances = spreads[:count].clamp_min(0) / max(len(rows) - 1, 1)
    residual = (total / max(len(rows) - 1, 1) - variances.sum()).clamp_min(0) / len(center)
    return Principal(center.float(), directions.float(), variances.float(), residual.float())


def _mean(rows: Rows) -> Float[Tensor, "d"]:
    total = torch.stack([block.double().sum(0) for block in rows.blocks()]).sum(0)
    return total / len(rows)


def _from_products(rows: Rows, center: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return squared singular values, directions and the sum of squares by eq. (1)."""
    products, start = torch.zeros(len(rows), len(rows), dtype=torch.float64), 0
    for columns in rows.columns():
        deviations = columns.double()
        deviations -= center[start : start + columns.shape[1]]
        products += deviations @ deviations.T
        start += columns.shape[1]
        del columns, deviations  # before the next are made
    spreads, vectors = torch.linalg.eigh(products)
    spreads, vectors = spreads.flip(0), vectors.flip(1)[:, :count]
    scale = spreads[:count].clamp_min(1e-12 * float(spreads[0].clamp_min(1e-12))).sqrt()
    weights = torch.split((vectors / scale).float(), [len(part) for part in rows.positions()])
    directions = torch.zeros(vectors.shape[1], len(center))
    for block, weight in zip(rows.blocks(), weights, strict=True):
        directions += weight.T @ (block - center.float())
    return spreads, directions, products.trace()


def _from_basis(rows: Rows, center: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return squared singular values, directions and the sum of squares by eq. (2) or (3)."""
    cells = len(center)
    exact = cells <= MOST_PRODUCTS
    dtype = torch.float64 if exact else torch.float32

    def deviations() -> Iterator[Tensor]:
        for block in rows.blocks():
            yield block.to(dtype) - center.to(dtype)

    if exact:
        basis = torch.eye(cells, dtype=dtype)
    else:
        basis = Rng.for_rows(cells, "principal").normal((cells, min(count + OVERSAMPLED, cells)))
        for _ in range(ITERATIONS):
            image = torch.zeros_like(basis)
            for block in deviations():
                image += block.T @ (block @ basis)
            basis = torch.linalg.qr(image).Q
    total = torch.zeros((), dtype=torch.float64)
    moments = torch.zeros(basis.shape[1], basis.shape[1], dtype=torch.float64)
    for block in deviations():
        scores = block @ basis
        moments += (scores.T @ scores).double()
        total += block.square().sum(dtype=torch.float64)
    spreads, vectors = torch.linalg.eigh(moments)
    return spreads.flip(0), (basis @ vectors.flip(1)[:, :count].to(dtype)).T, total
