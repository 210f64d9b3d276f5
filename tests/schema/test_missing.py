"""Missing cells: numbers match by exact value, other codes as text."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.errors import SchemaError
from metavoxel.schema import parse_schema
from metavoxel.schema.missing import MissingCodes


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12))
def test_numbers_match_by_their_exact_value(number):
    codes = MissingCodes([f"{number.normalize():f}"])
    nearby = number + Decimal("0.00001")
    for text in (f"{number:f}", f"{number:.6f}", f"{number:.20E}"):
        assert text in codes
    assert f"{nearby:f}" not in codes


@pytest.mark.parametrize("cell", ["077", "0999", "-0999", "1_0", "0x9", "9 9", "inf", "\uff11"])
def test_codes_with_leading_zeros_and_other_texts_are_not_numbers(cell):
    assert cell not in MissingCodes(["77", "999", "-999", "10", "9", "99", "1"])
    assert cell in MissingCodes([cell])


def test_text_codes():
    codes = MissingCodes(["n/a", "nan", "caf\u00e9"])
    for cell in ("", "n/a", "nan", "NaN", "NAN", "cafe\u0301"):
        assert cell in codes
    for cell in ("N/A", "na", "0"):
        assert cell not in codes
    assert "NAN" not in MissingCodes(["n/a"])


def refused(missing=None, **variables):
    cohort = {"table": "t.csv"} if missing is None else {"table": "t.csv", "missing": missing}
    with pytest.raises(SchemaError) as caught:
        parse_schema({"cohort": cohort, "variables": {"x": {"type": "continuous"}, **variables}}, folder=Path())
    return str(caught.value)


def test_labels_that_are_missing_codes():
    region = {"type": "categorical", "categories": ["EU", "NA", "AS"]}
    assert refused(region=region) == (
        "variables.region: 'NA': a label or its code, but cohort.missing makes such cells missing. Set cohort.missing "
        "without it: ['', 'n/a', 'NaN', 'nan', '<NA>', 'NaT']"
    )
    coded = {"type": "categorical", "categories": {"yes": 1, "unknown": "9.0"}}
    assert "'9.0': a label or its code" in refused([9, "n/a"], dx=coded)
    parse_schema({"cohort": {"table": "t.csv", "missing": ["n/a"]}, "variables": {"region": region}}, folder=Path())


def test_variables_named_like_written_columns():
    assert "variables.draw: is the name of a column written by 'metavoxel predict --write-draws'" in refused(
        draw={"type": "continuous"}
    )
    with pytest.raises(SchemaError, match=r"cohort\.subject: 'draw' is the name"):
        raw = {"cohort": {"table": "t.csv", "subject": "draw"}, "variables": {"x": {"type": "continuous"}}}
        parse_schema(raw, folder=Path())
