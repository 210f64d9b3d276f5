"""Tables of results as CSV and as text."""

import math

import pandas
import pytest

from metavoxel.evaluation.metrics.bootstrap import Estimate
from metavoxel.evaluation.report.table import DASH, ResultTable, digits, shown


def test_every_number_has_its_own_cell(tmp_path):
    figures = ResultTable([
        {"method": "a", "MAE": Estimate(1.23456789, 1.0, 2.0), "rows": 3},
        {"method": "b", "MAE": None, "seconds": math.nan},
    ])  # fmt: skip
    figures.write(tmp_path / "t.csv")
    table = pandas.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert list(table.columns) == ["method", "MAE", "MAE low", "MAE high", "rows", "seconds"]
    assert table.iloc[0].tolist() == ["a", "1.23457", "1.0", "2.0", "3", DASH]
    assert table.iloc[1].tolist() == ["b", DASH, DASH, DASH, DASH, DASH]
    assert figures.shown() == [["a", "1.23 [1.00, 2.00]", "3", DASH], ["b", DASH, DASH, DASH]]


@pytest.mark.parametrize(
    ("value", "text"), [(1234567, "1,234,567"), (1234.5, "1,234"), (12.345, "12.3"), (0.012345, "0.0123"), (0, "0"),
                        (-3.14159, "-3.14"), (1e-7, "0.0000")]
)  # fmt: skip
def test_numbers_have_three_significant_digits(value, text):
    assert digits(value) == text


@pytest.mark.parametrize("cell", [None, math.nan, Estimate(math.nan, 1, 2)])
def test_missing_values_are_a_dash(cell):
    assert shown(cell) == DASH
