"""Choice of numerical precision, and flushing of denormal numbers."""

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
def test_explicit_precision_is_kept(half):
    assert resolve_precision("16-mixed", half=half) == "16-mixed"


def test_tables_use_single_precision():
    """Half precision may not resolve the structure of a table."""
    assert resolve_precision("auto", half=False) == "32-true"
    assert resolve_precision("auto", half=True) in ("32-true", "bf16-mixed")


def _denormal() -> float:
    return torch.tensor(1e-40).mul(1.0).item()


def test_the_denormal_mode_is_restored():
    """Also if the context is left early."""

    def steps():
        with flushed_denormals():
            yield _denormal()
            with flushed_denormals():
                yield _denormal()
            yield _denormal()

    assert _denormal() > 0
    assert list(steps()) == [0, 0, 0]
    assert _denormal() > 0
    stopped = steps()
    next(stopped)
    stopped.close()
    assert _denormal() > 0


def rounded(x, weight, bias):
    """A convolution of inputs that autocast rounds to bf16, computed in single precision: right on every processor."""
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = (tensor.bfloat16().float() for tensor in (x, weight, bias))
    with torch.autocast("cpu", enabled=False):
        return convolve(x, weight, bias)


def wrong_where(is_wrong):
    """Return a convolution with wrong half-precision weight gradients on grids for which ``is_wrong`` is true."""

    def convolution(x, weight, bias):
        half = torch.is_autocast_enabled("cpu")
        if half and is_wrong(x.shape[2:]):
            weight = weight + (weight - weight.detach())  # the same value, and twice the gradient
        return rounded(x, weight, bias)

    return convolution


def overflowing(x, weight, bias):
    half = torch.is_autocast_enabled("cpu")
    return rounded(x, weight, bias) * (torch.inf if half else 1.0)


def test_half_precision_gradients_agree_with_single_precision():
    assert bf16_gradients_agree(rounded)


@pytest.mark.parametrize(
    "is_wrong",
    [
        lambda grid: len(grid) == 3 and grid[0] == 2,
        lambda grid: len(grid) == 2,
        lambda grid: 1 in grid,
        lambda grid: tuple(grid) == (3, 3, 3),
    ],
)
def test_wrong_gradients_are_detected(is_wrong):
    assert not bf16_gradients_agree(wrong_where(is_wrong))


def test_nan_gradients_are_detected():
    assert not bf16_gradients_agree(overflowing)


def test_half_precision_with_wrong_gradients_is_refused():
    wrong = wrong_where(lambda grid: grid[0] == 2)
    assert resolve_precision("auto", half=True, accelerator="cpu", convolution=wrong) == "32-true"
    for precision in ("bf16-mixed", "bf16-true"):
        with pytest.raises(RunError, match=r"precision bf16.*wrong gradients.*use `precision=32-true`"):
            resolve_precision(precision, half=True, accelerator="cpu", convolution=wrong)
    assert resolve_precision("bf16-mixed", half=True, accelerator="cpu", convolution=rounded) == "bf16-mixed"
    assert resolve_precision("32-true", half=True, accelerator="cpu", convolution=wrong) == "32-true"
    assert resolve_precision("bf16-mixed", half=False, accelerator="cpu", convolution=wrong) == "bf16-mixed"


def test_the_check_leaves_the_global_generator_unchanged():
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


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="single processor")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors flush otherwise")
def test_threads_started_in_the_context_flush_denormals():
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(metavoxel.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
