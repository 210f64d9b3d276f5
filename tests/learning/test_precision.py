"""Which arithmetic is chosen."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import metavoxel
from metavoxel.errors import RunError
from metavoxel.learning.precision import bf16_gradients_agree, convolve, flushed_denormals, resolve_precision


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


def wrong_where(is_wrong):
    """A convolution whose weight gradient is wrong in half precision where ``is_wrong`` holds of its grid."""

    def convolution(x, weight, bias):
        half = torch.is_autocast_enabled("cpu")
        if half and is_wrong(x.shape[2:]):
            weight = weight + (weight - weight.detach())  # the same value, and twice the gradient
        return convolve(x, weight, bias)

    return convolution


def overflowing(x, weight, bias):
    half = torch.is_autocast_enabled("cpu")
    return convolve(x, weight, bias) * (torch.inf if half else 1.0)


def test_gradients_in_half_precision_are_those_in_single():
    assert bf16_gradients_agree(lambda x, weight, bias: convolve(x, weight, bias))


@pytest.mark.parametrize(
    "is_wrong",
    [
        lambda grid: len(grid) == 3 and grid[0] == 2,
        lambda grid: len(grid) == 2,
        lambda grid: 1 in grid,
        lambda grid: tuple(grid) == (3, 3, 3),
    ],
)
def test_wrong_gradients_are_found(is_wrong):
    assert not bf16_gradients_agree(wrong_where(is_wrong))


def test_gradients_that_are_no_numbers_are_found():
    assert not bf16_gradients_agree(overflowing)


def test_half_precision_that_computes_wrongly_is_not_taken():
    wrong = wrong_where(lambda grid: grid[0] == 2)
    assert resolve_precision("auto", half=True, accelerator="cpu", convolution=wrong) == "32-true"
    for precision in ("bf16-mixed", "bf16-true"):
        with pytest.raises(RunError, match=r"precision bf16.*wrong gradients.*use --precision 32-true"):
            resolve_precision(precision, half=True, accelerator="cpu", convolution=wrong)
    assert resolve_precision("bf16-mixed", half=True, accelerator="cpu") == "bf16-mixed"
    assert resolve_precision("32-true", half=True, accelerator="cpu", convolution=wrong) == "32-true"
    assert resolve_precision("bf16-mixed", half=False, accelerator="cpu", convolution=wrong) == "bf16-mixed"


def test_the_check_draws_from_no_generator_of_others():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    bf16_gradients_agree()
    assert torch.equal(torch.rand(1), expected)


THREADS = """
import torch
from metavoxel.learning.precision import flushed_denormals

torch.set_num_threads(2)
with flushed_denormals():
    print(int(torch.full((4_000_000,), 1e-30).mul(1e-10).ne(0).sum()))
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors flush otherwise")
def test_threads_that_start_in_the_scope_flush_too():
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(metavoxel.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
