"""Cells of numbers: precision, and error messages for other cells."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.variables.base import Missing
from metavoxel.parts.variables.continuous import ContinuousSpec


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        ("0,5", "write decimal points"),
        ("89+", "metavoxel-count"),
        ("<5", "metavoxel-count"),
        ("> 90", "metavoxel-count"),
        ("80-90", "but a range: write its middle"),
        ("80\u201390", "but a range: write its middle"),
        ("12m", "one unit"),
        ("12 months", "one unit"),
    ],
)
def test_cells_with_more_than_a_number_have_advice(cell, advice):
    with pytest.raises(ValueError) as caught:
        ContinuousSpec().parse(cell)
    assert str(caught.value).startswith(f"{cell!r} is not a number") and advice in str(caught.value)


@pytest.mark.parametrize("cell", ["abc", "3;5", "1.2.3", "--", "a+"])
def test_other_cells_have_no_advice(cell):
    with pytest.raises(ValueError) as caught:
        ContinuousSpec().parse(cell)
    assert str(caught.value) == f"{cell!r} is not a number"


def test_seconds_of_unix_time_are_distinguished():
    values = torch.stack([ContinuousSpec().parse(str(1_700_000_000 + second)) for second in range(60)])
    codec = LinearSpec().build(())
    codec.fit(lambda: [values])
    sd = math.sqrt((60**2 - 1) / 12)
    assert float(codec.center) == 1_700_000_029.5 and float(codec.scale) == pytest.approx(sd)
    codes = codec.encode(values).mean[:, 0].double()
    torch.testing.assert_close(codes, (torch.arange(60).double() - 29.5) / sd, atol=1e-6, rtol=0)
    shown = [ContinuousSpec().format(value) for value in codec.decode(codec.encode(values).mean)]
    assert shown == [1_700_000_000.0 + second for second in range(60)]


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_integers_are_formatted_exactly(number):
    value = ContinuousSpec().parse(str(number))
    assert ContinuousSpec().format(value) == number


@pytest.mark.parametrize("cell", ["1e39", "-1e39", "inf", "nan"])
def test_numbers_beyond_single_precision_are_missing(cell):
    assert isinstance(ContinuousSpec().parse(cell), Missing)


CELLS = st.one_of(
    st.floats().map(str),
    st.integers(-(10**40), 10**40).map(str),
    st.sampled_from(
        ["1_000", "١٢", "0x1p3", "1e400", "-1e-400", "nan", "-inf", "Infinity", "12m", "<5", "0,5", "+3", "1e-50"]
    ),
    st.text(max_size=6),
)


@given(
    cells=st.lists(CELLS, max_size=8), log=st.booleans(), valid=st.sampled_from([None, (-2.0, 7.5), (0.0, math.inf)])
)
def test_many_cells_are_parsed_as_one_by_one(cells, log, valid):
    spec = ContinuousSpec(transform="log" if log else None, valid=valid)
    read, values = spec.parse_many(cells)
    for cell, known, value in zip(cells, read.tolist(), values, strict=True):
        try:
            single = spec.parse(cell)
        except ValueError:
            single = None
        if known:
            assert value.dtype == single.dtype and torch.equal(value, single)
        else:
            assert single is None or isinstance(single, Missing) or "_" in cell
