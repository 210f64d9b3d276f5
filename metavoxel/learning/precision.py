"""Numerical precision of training: mixed precision and denormal numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from metavoxel.errors import Problem, RunError
from metavoxel.parts.convolutions import convolve_3d


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flush denormal numbers to zero within the context, and restore the previous mode afterwards.

    Backward passes through flat background produce denormals, which are up to ten times slower on many processors.

    The mode is per thread, and PyTorch sets it for the calling thread only. Worker threads inherit it when they start,
    at the first operation that is divided among threads. If the context is entered before that, as in ``metavoxel
    train``, all threads flush, and the workers continue to afterwards. If it is entered later, as in a notebook that
    has computed with PyTorch, workers do not flush: they stay slow, and results differ only below 1e-38.
    """
    flushed = not torch.tensor(1e-40).mul(1.0).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


Convolution: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function of input (b, c, *s), weight (o, c, 3, ...) and bias (o,) with output (b, o, *s)."""

TOLERANCE = 0.05
"""Maximum relative difference between gradients in bf16 and in single precision. Rounding accounts for about 0.005."""

_INPUTS = (
    (2, 32, 2, 2, 2), (16, 32, 2, 2, 2), (2, 32, 2, 4, 4), (2, 32, 2, 3, 2), (2, 32, 4, 2, 4), (2, 32, 1, 2, 2),
    (2, 32, 3, 3, 3), (2, 32, 2, 4), (2, 32, 3, 3),
)  # fmt: skip


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve with kernels of width 3 in 2-D or 3-D, keeping the grid, as the networks do."""
    if x.ndim == 5:
        return convolve_3d(x, weight, bias)
    return functional.conv2d(x, weight, bias, padding=1)


def bf16_gradients_agree(convolution: Convolution = convolve) -> bool:
    """Check that gradients of small convolutions in bf16 autocast on this CPU agree with single precision to 5 %.

    Grids with few voxels along the first axis are convolved by :mod:`metavoxel.parts.convolutions`, as PyTorch's own
    gradients of these are wrong on some CPUs. Takes tens of milliseconds, and uses a random generator of its own.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    for shape in _INPUTS:
        inputs = (normal(*shape), normal(32, shape[1], *[3] * (len(shape) - 2)) * 0.05, normal(32))
        gradients = []
        for half in (False, True):
            leaves = [tensor.clone().requires_grad_() for tensor in inputs]
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                output = convolution(*leaves)
            gradients.append(torch.autograd.grad(output.float().square().mean(), leaves))
        for exact, rounded in zip(*gradients, strict=True):
            # Negated so that NaN counts as disagreement.
            if not float((rounded - exact).norm()) <= TOLERANCE * float(exact.norm()):
                return False
    return True


def resolve_precision(
    precision: str, *, half: bool, accelerator: str = "auto", convolution: Convolution = convolve
) -> str:
    """Resolve 'auto': bf16 mixed precision if it suffices (``half``) and the hardware supports it, else single.

    On a CPU, bf16 also requires correct gradients of small convolutions (:func:`bf16_gradients_agree`), checked with
    ``convolution``.

    Raises:
        RunError: bf16 was requested explicitly on a CPU that computes these gradients wrongly.
    """
    on_cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    on_cpu = not on_cuda and accelerator in ("auto", "cpu")
    if precision != "auto":
        if half and on_cpu and precision.startswith("bf16") and not bf16_gradients_agree(convolution):
            what = (
                f"PyTorch {torch.__version__} computes wrong gradients of small convolutions in bf16 on this CPU; "
                "use `precision=32-true` (or auto, which resolves to it here)"
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
