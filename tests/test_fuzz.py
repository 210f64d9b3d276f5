"""Damaged headers, tables and schemas are read or refused with a message, within limits of time and memory."""

import fuzz_images
import pytest
from fuzz_limits import Counts, TooSlowError, attempt, memory_limit
from fuzz_schemas import fuzz_schemas
from fuzz_tables import NAMES, fuzz_tables

from metavoxel.errors import SchemaError


@pytest.mark.parametrize("name", NAMES)
def test_damaged_tables_are_read_or_refused(tmp_path, name):
    with memory_limit():
        counts = fuzz_tables(tmp_path, name, 150)
    assert counts.inputs == 150
    assert 30 <= counts.refused <= 140


def test_damaged_schemas_are_read_or_refused(tmp_path):
    with memory_limit():
        counts = fuzz_schemas(tmp_path, 150)
    assert counts.inputs == 150
    assert 75 <= counts.refused <= 145


@pytest.mark.slow
def test_ten_thousand_damaged_inputs(tmp_path):
    with memory_limit():
        refused = sum(fuzz_images.fuzz(tmp_path, name, 400, seed=2) for name in fuzz_images.NAMES)
        headers = Counts(400 * len(fuzz_images.NAMES), refused)
        tables = [fuzz_tables(tmp_path, name, 2000, seed=1) for name in NAMES]
        schemas = fuzz_schemas(tmp_path, 4000, seed=1)
    for kind, counts in (("headers", headers), *zip(NAMES, tables, strict=True), ("schemas", schemas)):
        print(f"{kind}: {counts}")
        assert 0 < counts.refused < counts.inputs
    assert headers.inputs + sum(counts.inputs for counts in tables) + schemas.inputs == 10_000


def test_attempt_fails_on_unexpected_errors():
    def refuse(*problems):
        raise SchemaError(problems)

    def loop():
        while True:
            pass

    assert attempt(lambda: 3, "x") == 3
    assert attempt(lambda: refuse(*SchemaError("a reason").problems), "x") is None
    for wrong in (refuse, lambda: refuse(*SchemaError(" ").problems), lambda: 1 // 0):
        with pytest.raises(AssertionError, match="^x: "):
            attempt(wrong, "x")
    with pytest.raises(AssertionError, match="TooSlowError: more than 0.05 s"):
        attempt(loop, "x", seconds=0.05)
    assert not issubclass(TooSlowError, Exception)
