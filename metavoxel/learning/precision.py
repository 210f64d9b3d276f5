"""Which arithmetic the machine does fast."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from metavoxel.errors import Problem, RunError


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers too small for a normal exponent count as 0 until the end, and then as much as before.

    Backward passes through flat background meet them, and they are up to ten times slower on many processors.

    The setting is of a thread, and PyTorch can set that of the calling one alone. Worker threads inherit it when they
    start, which is when an operation is first divided among threads. So all threads flush where this is entered before
    any such operation, as ``metavoxel train`` does, and they go on to afterwards. Entered later (in a notebook that has
    computed with PyTorch), the share of the workers is not flushed: as slow as without, and different in numbers below
    1e-38 alone.
    """
    flushed = not torch.tensor(1e-40).mul(1.0).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


Convolution: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Input (b, c, *s), weight (o, c, 3, ...) and bias (o,) to output (b, o, *s)."""

TOLERANCE = 0.05
"""Largest relative difference of a gradient in bf16 from that in single precision. Rounding makes about 0.005."""

_INPUTS = (
    (2, 32, 2, 2, 2), (16, 32, 2, 2, 2), (2, 32, 2, 4, 4), (2, 32, 2, 3, 2), (2, 32, 4, 2, 4), (2, 32, 1, 2, 2),
    (2, 32, 3, 3, 3), (2, 32, 2, 4), (2, 32, 3, 3),
)  # fmt: skip


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of width 3 that keeps the grid of two or three axes."""
    convolution = functional.conv3d if x.ndim == 5 else functional.conv2d
    return convolution(x, weight, bias, padding=1)


def bf16_gradients_agree(convolution: Convolution = convolve) -> bool:
    """Whether gradients of small convolutions in bf16 autocast on this CPU are those in single precision, to 5 %.

    They are not everywhere: with AVX-512, PyTorch 2.13 computes wrong weight gradients where the first axis of the grid
    has two voxels, and the bottom of a U-Net is as small as that. Takes tens of milliseconds. Draws from a generator of
    its own.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    for shape in _INPUTS:
        inputs = (normal(*shape), normal(32, shape[1], *[3] * (len(shape) - 2)) * 0.05, normal(32))
        found = []
        for half in (False, True):
            leaves = [tensor.clone().requires_grad_() for tensor in inputs]
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                output = convolution(*leaves)
            found.append(torch.autograd.grad(output.float().square().mean(), leaves))
        for exact, half_exact in zip(*found, strict=True):
            # Written so that what is not a number does not agree.
            if not float((half_exact - exact).norm()) <= TOLERANCE * float(exact.norm()):
                return False
    return True


def resolve_precision(
    precision: str, *, half: bool, accelerator: str = "auto", convolution: Convolution = convolve
) -> str:
    """'auto' becomes bf16 mixed precision where that would do (``half``) and the machine computes in it natively.

    On a CPU it also has to compute gradients of small convolutions rightly (:func:`bf16_gradients_agree`), which is
    tried out here with ``convolution``; otherwise 'auto' is single precision.

    Raises:
        RunError: bf16 was asked for by name on a CPU that computes these gradients wrongly.
    """
    on_cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    on_cpu = not on_cuda and accelerator in ("auto", "cpu")
    if precision != "auto":
        if half and on_cpu and precision.startswith("bf16") and not bf16_gradients_agree(convolution):
            what = (
                f"PyTorch {torch.__version__} computes wrong gradients of small convolutions in bf16 on this CPU; "
                "use --precision 32-true (or auto, which then is the same)"
            )
            raise RunError(Problem(f"precision {precision}", what))
        return precision
    if not half:
        return "32-true"
    if on_cuda:
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    if not (on_cpu and _computes_in_bf16()):
        return "32-true"
    return "bf16-mixed" if bf16_gradients_agree(convolution) else "32-true"


def _computes_in_bf16() -> bool:
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text(encoding="utf-8") if cpu_info.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
