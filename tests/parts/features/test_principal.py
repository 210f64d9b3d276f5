"""Principal components in blocks against a singular value decomposition."""

import pytest
import torch

from metavoxel.parts.features import principal as module
from metavoxel.parts.features import rows as stored
from metavoxel.parts.features.principal import principal
from metavoxel.parts.features.rows import Rows
from metavoxel.rng import Rng

COUNT = 5


def decomposed(codes):
    center = codes.double().mean(0)
    _, spreads, directions = torch.linalg.svd(codes.double() - center, full_matrices=False)
    variances = spreads.square() / (len(codes) - 1)
    return center, directions[:COUNT], variances[:COUNT], variances[COUNT:].sum() / codes.shape[1]


@pytest.mark.parametrize("block", [2**25, 4 * 90 * 7])
@pytest.mark.parametrize("method", ["products of rows", "moments of cells", "basis"])
def test_components_are_those_of_a_singular_value_decomposition(monkeypatch, method, block):
    monkeypatch.setattr(stored, "BLOCK_BYTES", block)
    monkeypatch.setattr(module, "MOST_PRODUCTS", 10 if method == "basis" else 2048)
    size = (40, 90) if method == "products of rows" else (120, 60)
    codes = Rng.for_rows(size[0], "principal").normal(size) * 0.8 ** torch.arange(size[1]) + 3
    center, directions, variances, residual = decomposed(codes)
    found = principal(Rows(codes), COUNT)
    torch.testing.assert_close(found.center.double(), center, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.variances.double(), variances, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.residual.double(), residual, rtol=1e-4, atol=0)
    signs = (found.directions.double() * directions).sum(1).sign()
    torch.testing.assert_close(found.directions.double() * signs[:, None], directions, rtol=0, atol=1e-4)


def test_rows_of_lower_rank():
    codes = torch.ones(12, 30) * torch.arange(12.0)[:, None]
    found = principal(Rows(codes), COUNT)
    assert torch.isfinite(found.directions).all() and float(found.residual) < 1e-6
    torch.testing.assert_close(found.variances[0], 30 * codes[:, 0].var())
    assert float(found.variances[1:].max()) < 1e-6


def test_one_row():
    found = principal(Rows(torch.ones(1, 30)), 0)
    assert torch.equal(found.center, torch.ones(30)) and not len(found.directions) and float(found.residual) == 0
