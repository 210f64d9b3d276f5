"""Names of methods of sampling; apart from the methods, so that a help page needs no PyTorch."""

from typing import Literal

ConditioningName = Literal["clean", "replace", "repaint", "smc"]
SolverName = Literal["dpmpp_2m", "ddim"]
GridName = Literal["log_snr", "uniform"]
