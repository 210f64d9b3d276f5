"""Names of methods of sampling; apart from the methods, so that a help page needs no PyTorch."""

from typing import Literal

ConditioningName = Literal["clean", "replace", "repaint", "smc"]
"""How known cells enter the network. ``clean``: without noise, at their own t = 0, the default. ``replace``: noised to
the time of the unknown cells, at every step. ``repaint``: the same, with resampling. ``smc``: particles."""
SolverName = Literal["dpmpp_2m", "ddim"]
GridName = Literal["log_snr", "uniform"]
