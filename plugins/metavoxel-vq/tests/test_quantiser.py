"""Levels and classes of finite scalar quantisation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metavoxel_vq.quantiser import ScalarQuantiser

levels = st.lists(st.integers(2, 8), min_size=1, max_size=4)


@settings(deadline=None)
@given(levels)
def test_a_class_is_the_index_of_its_levels(counts):
    quantiser = ScalarQuantiser(counts)
    codebook = quantiser.codebook()
    assert codebook.shape == (math.prod(counts), len(counts)) and len(codebook.unique(dim=0)) == len(codebook)
    assert torch.equal(quantiser.index(codebook), torch.arange(len(codebook)))


@settings(deadline=None)
@given(levels, st.integers(0, 1000))
def test_numbers_have_levels_of_the_codebook(counts, seed):
    quantiser = ScalarQuantiser(counts)
    y = 4 * torch.randn(3, len(counts), 5, generator=torch.Generator().manual_seed(seed))
    found = quantiser(y)
    assert found.min() >= -1 and found.max() <= 1
    near = quantiser.codebook()[quantiser.index(found)].movedim(-1, 1)
    torch.testing.assert_close(near, found)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_every_level_is_reached_in_order(count):
    found = ScalarQuantiser([count])(torch.linspace(-6, 6, 4001)[:, None])[:, 0]
    assert len(found.unique()) == count and bool((found.diff() >= 0).all())


def test_zero_is_a_level_in_the_middle():
    assert float(ScalarQuantiser([5])(torch.zeros(1, 1))) == 0
    assert abs(float(ScalarQuantiser([8])(torch.zeros(1, 1)))) <= 0.25


def test_gradients_pass_the_rounding():
    y = torch.randn(4, 2, 3, requires_grad=True)
    ScalarQuantiser([8, 5])(y).sum().backward()
    assert bool((y.grad > 0).all())
