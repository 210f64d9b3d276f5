"""Rows read in blocks."""

import pytest
import torch

from metavoxel.parts.features import rows as module
from metavoxel.parts.features.rows import Rows


@pytest.mark.parametrize("block", [1, 4 * 6 * 3, 2**25])
def test_blocks_cover_all_rows_in_order(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK_BYTES", block)
    array = torch.arange(240.0).reshape(10, 4, 2, 3)
    rows = Rows(array[:, 1], torch.tensor([9, 0, 5, 4, 4, 7, 1]))
    expected = array[[9, 0, 5, 4, 4, 7, 1], 1]
    assert len(rows) == 7 and rows.shape == (2, 3)
    assert torch.equal(rows.read(), expected) and torch.equal(rows.read(torch.tensor([2, 0])), expected[[2, 0]])
    assert torch.equal(torch.cat(list(rows.blocks())), expected.flatten(1))
    assert torch.equal(torch.cat(list(rows.columns()), 1), expected.flatten(1))
    chosen = rows.select(torch.tensor([True, False, True, False, False, False, True]))
    assert torch.equal(chosen.read(), expected[[0, 2, 6]])


def test_half_precision_is_read_as_single():
    assert Rows(torch.ones(2, 3, dtype=torch.bfloat16)).read().dtype == torch.float32


def test_no_rows():
    rows = Rows(torch.ones(4, 3)).select(torch.zeros(4, dtype=torch.bool))
    assert rows.read().shape == (0, 3) and [part.shape for part in rows.blocks()] == [(0, 3)]
