"""Which arithmetic the machine does fast."""

from pathlib import Path

import torch


def resolve_precision(precision: str) -> str:
    """'auto' becomes bf16 mixed precision where the processor or GPU computes in it natively, else single precision."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text() if cpu_info.exists() else ""
    return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"
