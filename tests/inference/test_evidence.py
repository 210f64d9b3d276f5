"""Values with a measurement error, parsed and in code units."""

import math

import pytest
import torch
from exact_joint import agreeing_pair, exact_model

from metavoxel.errors import EvidenceError
from metavoxel.parts.codecs.linear import LinearSpec


@pytest.fixture
def reader(tmp_path):
    return exact_model(agreeing_pair(), tmp_path)._reader


@pytest.mark.parametrize("cell", ["30±2", "30 ± 2", "30+-2", "30 +/- 2", " 30±2.0 "])
def test_an_error_is_parsed_in_all_notations(reader, cell):
    value, sd = reader.known({"x": cell})["x"]
    assert (float(value), sd) == (30.0, 2.0) and reader.is_measured("x", cell)


def test_other_cells_are_exact(reader):
    for cell, value in (("30", 30.0), (30, 30.0), ("-3e-2", -0.03), ("1e+2", 100.0), ("30±0", 30.0)):
        known = reader.known({"x": cell})["x"]
        assert float(known.value) == pytest.approx(value) and known.sd is None
    assert reader.known({"x": "-3±1"})["x"].sd == 1.0
    assert not reader.is_measured("x", 30) and not reader.is_measured("a", "a0±1")


@pytest.mark.parametrize("cell", ["30±", "30±x", "30±-1", "30±inf", "30±nan", "30±2±3"])
def test_invalid_errors(reader, cell):
    with pytest.raises(EvidenceError):
        reader.known({"x": cell})


def test_tensors_are_checked_as_cells_are(reader, tmp_path):
    assert float(reader.known({"x": torch.tensor(0.1)})["x"].value) == pytest.approx(0.1)
    assert int(reader.known({"a": torch.tensor(1)})["a"].value) == 1
    given = {"x": torch.tensor(math.nan), "a": torch.tensor(2), "b": torch.tensor(-1)}
    with pytest.raises(EvidenceError) as caught:
        reader.known(given)
    assert list(map(str, caught.value.problems)) == [
        "given x=nan: outside valid [-inf, inf]",
        "given a=2: unknown category (known, by their index in a tensor: a0 (0), a1 (1))",
        "given b=-1: unknown category (known, by their index in a tensor: b0 (0), b1 (1))",
    ]
    bounded = exact_model(agreeing_pair(), tmp_path, x={"type": "continuous", "valid": [0, 0.1]})._reader
    assert bounded.known({"x": torch.tensor(0.1)})["x"].sd is None, "a bound rounded to single precision is refused"
    with pytest.raises(EvidenceError, match=r"given x=0\.2: outside valid \[0, 0\.1\]"):
        bounded.known({"x": torch.tensor(0.2)})


def test_only_numbers_have_errors(reader):
    with pytest.raises(EvidenceError) as caught:
        reader.known({"a": "a0±1", "b": "b0+-1"})
    first, second = map(str, caught.value.problems)
    assert first.startswith("given a=a0±1: unknown category") and first.endswith(
        "Only numbers may have an error (±): x"
    )
    assert second.startswith("given b=b0+-1: ")


def test_an_error_in_code_units(reader):
    """Divided by the scale; under a logarithm also by the value, which is exact for small errors."""
    linear = LinearSpec(scale="range", range=(0, 100)).build(())
    torch.testing.assert_close(linear.code_slopes(torch.tensor([10.0, 90.0])), torch.tensor([0.02, 0.02]).double())
    logarithm = LinearSpec(scale="range", range=(1, math.e**2), transform="log").build(())
    torch.testing.assert_close(logarithm.code_slopes(torch.tensor([2.0, 5.0])), torch.tensor([0.5, 0.2]).double())
    entry = reader.given("x", torch.tensor([30.0]), sd=2.0)
    assert entry.sd == pytest.approx(2.0) and bool(entry.known.all())
