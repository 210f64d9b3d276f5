"""Cells of the loss: unknown and hidden ones; sequences are observed in part."""

import torch
from torch import nn

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import PARTIAL_SHARE, corrupt, some_cells
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.network.joint import JointModel
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.rng import Rng

ROWS, CLASSES, CELLS = 4000, 3, 6


class RevealingKernel(UniformD3PMKernel):
    """A kernel whose first class is certain."""

    def revealed(self, xt):
        return xt[:, :1] > 0.5


class OneVariable(JointModel):
    """A model of which only the kernel is used."""

    def __init__(self, kernel):
        nn.Module.__init__(self)
        self.kernels = {"x": kernel}


def corrupted(kernel, *, partial=True):
    classes = torch.arange(ROWS * CELLS).reshape(ROWS, CELLS) % CLASSES
    code = torch.nn.functional.one_hot(classes, CLASSES).movedim(-1, 1).float()
    cache = LatentCache(torch.ones(ROWS, dtype=torch.bool), code[:, None], None, None, None)
    times = RowTimes(torch.full((ROWS, 1), 0.5).double(), torch.zeros(ROWS, 1, dtype=torch.bool))
    found = corrupt(
        OneVariable(kernel), {"x": cache}, torch.arange(ROWS), times, Rng.for_rows(ROWS, "rows"),
        device=torch.device("cpu"), partial=partial,
    )  # fmt: skip
    return code, found


def test_known_cells_are_a_beginning_or_any_subset_of_uniform_size():
    known = some_cells(Rng.for_rows(ROWS, "cells"), (2, 3))
    assert known.shape == (ROWS, 1, 2, 3)
    sizes = torch.bincount(known.flatten(1).sum(1), minlength=7) / ROWS
    assert bool(((sizes - 1 / 7).abs() < 5 * (1 / 7 / ROWS) ** 0.5).all())
    flat = known.flatten(1)
    beginning = (flat[:, 1:] <= flat[:, :-1]).all(1)
    assert 0.5 < float(beginning.double().mean()) < 0.9


def test_sequences_are_observed_in_part():
    code, found = corrupted(UniformD3PMKernel())
    observed, expanded = found.observed["x"], found.observed["x"].expand_as(code)
    share = float(observed.flatten(1).any(1).double().mean())
    expected = PARTIAL_SHARE * CELLS / (CELLS + 1)
    assert abs(share - expected) < 5 * (expected / ROWS) ** 0.5
    assert torch.equal(found.states["x"][expanded], code[expanded])
    assert torch.equal(found.times["x"] == 0, observed)
    assert torch.equal(found.counts["x"], ~observed)
    assert not corrupted(UniformD3PMKernel(), partial=False)[1].observed["x"].any()


def test_revealed_cells_have_no_loss():
    _, found = corrupted(RevealingKernel(), partial=False)
    assert torch.equal(found.counts["x"], found.states["x"][:, :1] < 0.5)
