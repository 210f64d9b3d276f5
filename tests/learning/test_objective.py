"""Cells of the loss: unknown and hidden ones; sequences are observed in part."""

import pytest
import torch
from scipy import stats
from torch import nn

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import PARTIAL_SHARE, corrupt, loss_sums, losses, some_cells
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


class TwoForms(OneVariable):
    """The model, of codes on a grid with so many classes."""

    def __init__(self, kernel):
        super().__init__(kernel)
        self.code_shapes = {"x": (CLASSES, CELLS)}


def test_the_loss_of_indices_is_that_of_one_hot_codes():
    """So are its gradients; a cell that does not count has none."""
    kernel, (code, found) = UniformD3PMKernel(), corrupted(UniformD3PMKernel())
    indexed = found._replace(
        states={"x": found.states["x"].argmax(1, True)}, targets={"x": found.targets["x"].argmax(1, True)}
    )
    terms, gradients = [], []
    for one, corruption in ((kernel, found), (kernel.with_indices(CLASSES), indexed)):
        prediction = Rng.for_rows(ROWS, "prediction").normal(tuple(code.shape)).requires_grad_()
        loss, counts = losses(TwoForms(one), {"x": prediction}, corruption)["x"]
        total = torch.where(counts, loss, 0.0)
        total.sum().backward()
        terms.append(total.detach())
        gradients.append(prediction.grad)
    torch.testing.assert_close(terms[0], terms[1])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert not gradients[1][~found.counts["x"].expand_as(code)].any()


def test_a_batch_without_cells_that_count_has_no_loss():
    code, found = corrupted(UniformD3PMKernel())
    nothing = found._replace(targets={"x": code.argmax(1, True)}, counts={"x": torch.zeros_like(found.counts["x"])})
    prediction = torch.zeros_like(code).requires_grad_()
    model = TwoForms(UniformD3PMKernel().with_indices(CLASSES))
    loss, _ = losses(model, {"x": prediction}, nothing)["x"]
    total, count = loss_sums(model, {"x": prediction}, nothing)["x"]
    total.backward()
    assert not loss.any() and not total and not count and not prediction.grad.any()


@pytest.mark.parametrize("partial", [False, True])
def test_indices_are_noised_with_the_distribution_of_one_hot_codes(partial):
    """The classes of every cell, by a chi-square test; targets and known cells are the same."""
    kernel, (code, found) = UniformD3PMKernel(), corrupted(UniformD3PMKernel(), partial=partial)
    cache = LatentCache(torch.ones(ROWS, dtype=torch.bool), code.argmax(1)[:, None, None].to(torch.uint8))
    times = RowTimes(torch.full((ROWS, 1), 0.5).double(), torch.zeros(ROWS, 1, dtype=torch.bool))
    other = corrupt(
        OneVariable(kernel.with_indices(CLASSES)), {"x": cache}, torch.arange(ROWS), times, Rng.for_rows(ROWS, "rows"),
        device=torch.device("cpu"), partial=partial,
    )  # fmt: skip
    assert other.states["x"].dtype == other.targets["x"].dtype == torch.int64
    assert torch.equal(other.targets["x"], found.targets["x"].argmax(1, True))
    assert torch.equal(other.observed["x"].sum(), found.observed["x"].sum())
    changed = [(states != code.argmax(1, True)) for states in (other.states["x"], found.states["x"].argmax(1, True))]
    for cell in range(CELLS):
        table = [[int(one[:, 0, cell].sum()), int((~one[:, 0, cell]).sum())] for one in changed]
        assert stats.chi2_contingency(table).pvalue > 1e-6
