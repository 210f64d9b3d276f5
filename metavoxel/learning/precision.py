"""Which arithmetic the machine does fast."""

from pathlib import Path

import torch


def resolve_precision(precision: str, *, grids: bool) -> str:
    """'auto' becomes bf16 mixed precision where that pays, else single precision.

    It pays for grids, on processors and GPUs that compute in it natively. Tables are as fast without, and numbers need
    their digits: 8 bits of a scalar are a noise of their own.
    """
    if precision != "auto":
        return precision
    if not grids:
        return "32-true"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text() if cpu_info.exists() else ""
    return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"
