"""Cells, codes and labels, and the precedence of identical texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metavoxel.parts.variables.base import Missing
from metavoxel.parts.variables.categorical import CategoricalSpec


def label(spec, cell, parse="parse"):
    value = getattr(spec, parse)(cell)
    return value.rule if isinstance(value, Missing) else spec.format(value)


@pytest.mark.parametrize("codes", [{"1": 2, "0": 1}, {"0": 1, "1": 2}])
def test_codes_take_precedence_over_labels_in_cells(codes):
    spec = CategoricalSpec(categories=codes)
    for cell, expected in (("1", "0"), ("2", "1"), ("0", "0"), ("1.0", "0"), ("2.0", "1")):
        assert label(spec, cell) == expected
    for cell, expected in (("1", "1"), ("0", "0"), ("2", "1"), ("1.0", "1")):
        assert label(spec, cell, "parse_given") == expected
    (warning,) = spec.warnings()
    assert warning.startswith("label '1' is also the code of label '0'")


def test_labels_that_are_each_other_s_codes():
    spec = CategoricalSpec(categories={"A": "B", "B": "A"})
    assert [label(spec, cell) for cell in "AB"] == ["B", "A"]
    assert [label(spec, cell, "parse_given") for cell in "AB"] == ["A", "B"]
    assert len(spec.warnings()) == 2
    assert CategoricalSpec(categories={"A": 1, "B": 2}).warnings() == []


@pytest.mark.parametrize(
    ("labels", "cell"),
    [
        (["1E2", "2D3"], "100"),
        (["3.1", "3.2"], "3.10"),
        (["12345678901234567", "other"], "12345678901234568"),
        (["1", "2"], "01"),
        (["1", "2"], "1e0"),
        (["007", "010"], "7"),
        (["0.5", "1.5"], ".5"),
    ],
)
def test_codes_are_compared_as_texts(labels, cell):
    assert label(CategoricalSpec(categories=labels), cell).startswith("unknown category")


def test_version_numbers_are_distinguished():
    spec = CategoricalSpec(categories=["3.1", "3.10", "10"])
    assert [label(spec, cell) for cell in ("3.1", "3.10", "10", "10.0")] == ["3.1", "3.10", "10", "10"]
    with pytest.raises(ValidationError, match="two labels have the code 1"):
        CategoricalSpec(categories={"a": "1.0", "b": 1})


@given(st.integers(-(10**20), 10**20), st.integers(0, 3))
def test_integer_codes_match_with_zero_decimals(code, zeros):
    spec = CategoricalSpec(categories={"this": code, "next": code + 1})
    assert label(spec, f"{code}." + "0" * zeros) == "this"
    assert label(spec, str(code + 1)) == "next"


def test_texts_that_look_the_same():
    spec = CategoricalSpec(categories=["caf\u00e9", "MCI late"])
    assert label(spec, "cafe\u0301") == "caf\u00e9"
    found = label(spec, "MCI\u00a0late")
    assert found.startswith("unknown category that looks like 'MCI late'") and "NO-BREAK SPACE (U+00A0)" in found
    (warning,) = CategoricalSpec(categories=["MCI late", "MCI\u00a0late"]).warnings()
    assert "look the same" in warning and "U+00A0" in warning
    with pytest.raises(ValidationError, match="labels must differ"):
        CategoricalSpec(categories={"caf\u00e9": 1, "cafe\u0301": 2})
