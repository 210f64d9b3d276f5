"""Hypothesis strategies for codes, times and masks, and for schemas of built-in types.

They require hypothesis, installed by the extra ``metavoxel[testing]``; no other module of the package imports it.
"""

from typing import TypeAlias

import torch
from hypothesis import strategies as st
from jaxtyping import Bool, Float
from torch import Tensor

from metavoxel.testing.schema_strategies import schemas as schemas

AnyCode: TypeAlias = Float[Tensor, "_ _ *_"]
AnyTime: TypeAlias = Float[Tensor, "..."]
AnyMask: TypeAlias = Bool[Tensor, "_ 1 *_"]

EXTREME_TIMES = (0.0, 1e-300, 1e-8, 1e-3, 0.5, 0.999, 1 - 1e-8, 1.0)
"""Times near the bounds, where kernels are prone to rounding errors."""


def code_shapes(*, channels: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw shapes (b, c, \\*s) of few rows and channels, including a single row and an empty grid."""
    if channels is None:
        channels = st.integers(1, 4)
    sides = st.lists(st.integers(1, 3), max_size=3)
    return st.tuples(st.integers(1, 4), channels, sides).map(lambda parts: (*parts[:2], *parts[2]))


@st.composite
def real_codes(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]] | None = None) -> AnyCode:
    """Draw codes of support "real": standardised data with outliers, all zero, all equal."""
    shape = draw(code_shapes() if shapes is None else shapes)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from((0.0, 1e-6, 1.0, 1.0, 10.0)))
    shift = draw(st.sampled_from((0.0, 0.0, -4.0)))
    return torch.randn(shape, generator=generator) * scale + shift


@st.composite
def one_hot_codes(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]] | None = None) -> AnyCode:
    """Draw codes of support "one_hot" with two or more categories."""
    if shapes is None:
        shapes = code_shapes(channels=st.sampled_from((2, 2, 3, 5, 50)))
    rows, categories, *grid = draw(shapes)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    index = torch.randint(categories, (rows, *grid), generator=generator)
    return torch.nn.functional.one_hot(index, categories).movedim(-1, 1).float().contiguous()


def single_times() -> st.SearchStrategy[float]:
    """Draw one time: 0, 1, close to either, or anywhere between."""
    return st.one_of(st.sampled_from(EXTREME_TIMES), st.floats(0, 1, allow_subnormal=False))


@st.composite
def times_for(draw: st.DrawFn, code: AnyCode) -> AnyTime:
    """Draw times for a code, float64: one per row, or one per cell of the grid."""
    shape = draw(st.sampled_from(((len(code),), (len(code), 1, *code.shape[2:]))))
    count = torch.Size(shape).numel()
    values = draw(st.lists(single_times(), min_size=count, max_size=count))
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


@st.composite
def time_pairs_for(draw: st.DrawFn, code: AnyCode) -> tuple[AnyTime, AnyTime]:
    """Draw times (t, s) for a code with s <= t, both per row or both per cell."""
    t = draw(times_for(code))
    fraction = draw(st.lists(single_times(), min_size=t.numel(), max_size=t.numel()))
    return t, t * torch.tensor(fraction, dtype=torch.float64).reshape(t.shape)


@st.composite
def masks_for(draw: st.DrawFn, code: AnyCode) -> AnyMask:
    """Draw boolean masks for the cells of a code: all True, all False, or arbitrary."""
    cells = (len(code), 1, *code.shape[2:])
    count = torch.Size(cells).numel()
    any_cells = st.lists(st.booleans(), min_size=count, max_size=count)
    values = draw(st.one_of(st.just([True] * count), st.just([False] * count), any_cells))
    return torch.tensor(values).reshape(cells)
