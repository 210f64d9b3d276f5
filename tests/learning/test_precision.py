"""Which arithmetic is chosen."""

import pytest
import torch

from metavoxel.learning.precision import flushed_denormals, resolve_precision


@pytest.mark.parametrize("half", [True, False])
def test_what_is_asked_for_is_taken(half):
    assert resolve_precision("16-mixed", half=half) == "16-mixed"


def test_numbers_keep_their_digits():
    """A table's structure may be finer than half precision resolves."""
    assert resolve_precision("auto", half=False) == "32-true"
    assert resolve_precision("auto", half=True) in ("32-true", "bf16-mixed")


def _tiny() -> float:
    return torch.tensor(1e-40).mul(1.0).item()


def test_denormals_come_back():
    """What calls a training keeps its arithmetic, also where it stops in the middle."""

    def steps():
        with flushed_denormals():
            yield _tiny()
            with flushed_denormals():
                yield _tiny()
            yield _tiny()

    assert _tiny() > 0
    assert list(steps()) == [0, 0, 0]
    assert _tiny() > 0
    stopped = steps()
    next(stopped)
    stopped.close()
    assert _tiny() > 0
