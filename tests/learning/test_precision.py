"""Which arithmetic is chosen."""

import pytest

from metavoxel.learning.precision import resolve_precision


@pytest.mark.parametrize("grids", [True, False])
def test_what_is_asked_for_is_taken(grids):
    assert resolve_precision("16-mixed", grids=grids) == "16-mixed"


def test_numbers_keep_their_digits():
    """A table's structure may be finer than half precision resolves."""
    assert resolve_precision("auto", grids=False) == "32-true"
    assert resolve_precision("auto", grids=True) in ("32-true", "bf16-mixed")
