"""A sequence has a token for every cell of its code, with the cell's own state, time, mask and position."""

import pytest
import torch

from metavoxel.parts.adapters.base import AdapterInputs, BackboneOutputs
from metavoxel.parts.adapters.sequence import SequenceAdapterSpec
from metavoxel.parts.backbones.transformer import TransformerSpec
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.rng import Rng

ROWS, CLASSES, WIDTH = 3, 5, 16
PORTS = TransformerSpec(width=WIDTH).build({}).ports


def built(shape):
    torch.manual_seed(0)
    context = SequenceAdapterSpec().context(UniformD3PMKernel(), shape, PORTS)
    return SequenceAdapterSpec().build(context).eval(), context


def inputs(*grid):
    x = Rng.for_rows(ROWS, "sequence").normal((ROWS, CLASSES, *grid))
    cells = (ROWS, 1, *grid)
    return AdapterInputs(x, torch.full(cells, 0.5).double(), torch.zeros(cells, dtype=torch.bool), x[:, :0].flatten(1))


def test_a_sequence_has_no_grid_port():
    adapter, context = built((CLASSES, 4))
    assert context.port is None and context.features is None
    assert adapter.tokens == 4 and not adapter.needs_grids
    assert built((CLASSES,))[0].tokens == 1


@pytest.mark.parametrize("what", ["x", "time", "observed"])
def test_a_cell_enters_its_own_token_and_those_of_its_neighbours(what):
    adapter, _ = built((CLASSES, 2, 3))
    before = inputs(2, 3)
    value = getattr(before, what).clone()
    value[:, :, 1, 2] = {"x": 3.0, "time": 0.1, "observed": True}[what]
    streams = [adapter.embed(one).tokens for one in (before, before._replace(**{what: value}))]
    changed = (streams[0] != streams[1]).any(2)
    assert changed[:, [1, 2, 4, 5]].all() and not changed[:, [0, 3]].any()


def test_a_word_enters_the_tokens_of_three_words_before_and_after():
    adapter, _ = built((CLASSES, 12))
    before = inputs(12)
    value = before.x.clone()
    value[:, :, 5] = 3.0
    streams = [adapter.embed(one).tokens for one in (before, before._replace(x=value))]
    changed = (streams[0] != streams[1]).any(2)
    assert changed[:, 2:9].all() and not changed[:, :2].any() and not changed[:, 9:].any()


def test_more_than_three_axes_are_refused():
    with pytest.raises(ValueError, match="at most three axes, not 4"):
        built((CLASSES, 2, 2, 2, 2))


def test_equal_cells_differ_by_position():
    adapter, _ = built((CLASSES, 4))
    one = inputs(4)
    tokens = adapter.embed(one._replace(x=torch.ones_like(one.x))).tokens
    assert not torch.equal(tokens[:, 0], tokens[:, 1])


def test_the_head_of_a_cell_reads_its_own_token():
    adapter, _ = built((CLASSES, 2, 3))
    tokens = Rng.for_rows(ROWS, "outputs").normal((ROWS, 6, WIDTH))
    other = tokens.clone()
    other[:, 4] = 0
    first, second = (adapter.head(BackboneOutputs({}, {}, each)) for each in (tokens, other))
    changed = (first != second).any(1).flatten(1)
    assert changed[:, 4].all() and changed.sum() == ROWS
