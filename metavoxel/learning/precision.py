"""Which arithmetic the machine does fast."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers too small for a normal exponent count as 0 in this thread until the end, and then what they did before.

    Backward passes through flat background meet them, and they are up to ten times slower on many processors.
    """
    flushed = not torch.tensor(1e-40).mul(1.0).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def resolve_precision(precision: str, *, half: bool) -> str:
    """'auto' becomes bf16 mixed precision where that would do (``half``) and the machine computes in it natively."""
    if precision != "auto":
        return precision
    if not half:
        return "32-true"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text() if cpu_info.exists() else ""
    return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"
