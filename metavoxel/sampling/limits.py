"""Numbers that no draw may leave: a value that the schema calls impossible is drawn anew."""

from collections.abc import Mapping
from typing import TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from metavoxel.typing import AnyCode

Ends: TypeAlias = tuple[float, float]
"""Lowest and highest code of a variable of one number: its limits."""

MOST_WALKS = 16
"""Of one draw: what is still outside then is moved to the nearest limit."""


def outside(codes: Mapping[str, AnyCode], limits: Mapping[str, Ends]) -> Bool[Tensor, "b"]:
    """Rows of which some number is beyond its limits."""
    beyond = [(codes[name] < low) | (codes[name] > high) for name, (low, high) in limits.items()]
    rows = len(next(iter(codes.values())))
    return torch.cat(beyond, 1).any(1).cpu() if beyond else torch.zeros(rows, dtype=torch.bool)


def confined(codes: Mapping[str, AnyCode], limits: Mapping[str, Ends]) -> dict[str, AnyCode]:
    """The same, numbers beyond their limits moved to the nearest."""
    return {name: code.clamp(*limits[name]) if name in limits else code for name, code in codes.items()}
