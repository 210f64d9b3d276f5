"""Numbers that no draw may leave: a row with a value that the schema calls impossible is drawn anew."""

import warnings
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from metavoxel.errors import LimitWarning
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import Evidence
from metavoxel.typing import AnyCode

Bounds: TypeAlias = tuple[float, float]
"""Lowest and highest code of a variable of one number: its bounds."""

MOST_TRIALS = 16
"""Of one draw: what is still outside then is moved to the nearest limit."""


def codes_between(codec: AbstractCodec, ends: tuple[float, float], device: torch.device) -> Bounds | None:
    """Lowest and highest code whose value lies from one end to the other; None of ends that the codec has no code for.

    Where several codes stand for an end, all are within. Rounding may put the code of an end beyond it: then the limit
    is the next code within.

    Args:
        codec: of one number.
        ends: lowest and highest value, in the variable's unit.
        device: of the codec.
    """
    lowest, highest = codec.code_interval(torch.tensor(ends, dtype=torch.float64, device=device))
    codes = torch.stack([lowest[0], highest[1]])
    if codes.isnan().any():
        return None
    decoded = codec.decode(codes)
    beyond = (decoded < ends[0]) | (decoded > ends[1])
    codes = torch.where(beyond, torch.nextafter(codes[:, 0], codes[:, 0].flip(0)), codes[:, 0])
    return float(codes.min()), float(codes.max())


def drawn_within(
    draw: Callable[[Mapping[str, Evidence], Rng], tuple[dict[str, AnyCode], ...]],
    given: Mapping[str, Evidence],
    rng: Rng,
    bounds: Mapping[str, Bounds],
) -> tuple[dict[str, AnyCode], ...]:
    """What ``draw`` gives, rows outside their bounds drawn anew as a whole: from p(unknown | given, all within).

    Args:
        draw: from evidence and streams to codes, and to whatever else there is of each variable.
        given: evidence. What is known exactly is no draw, and has no bounds.
        rng: streams of the rows.
        bounds: of variables that may be among the codes.
    """
    drawn = draw(given, rng)
    bounds = {name: ends for name, ends in bounds.items() if name in drawn[0]}
    for walk in range(1, MOST_TRIALS):
        beyond = torch.zeros(len(rng), dtype=torch.bool)
        for outside in _outside(drawn[0], given, bounds).values():
            beyond |= outside.cpu()
        again = beyond.nonzero()[:, 0]
        if not len(again):
            return drawn
        fresh = draw({name: entry.of_rows(again) for name, entry in given.items()}, rng[again].fork("outside", walk))
        drawn = tuple(
            {name: old.index_copy(0, again.to(old.device), new[name]) for name, old in part.items()}
            for part, new in zip(drawn, fresh, strict=True)
        )
    left = _outside(drawn[0], given, bounds)
    for name in [name for name, rows in left.items() if rows.any()]:
        what = f"{name}: draws that were still outside 'valid' after {MOST_TRIALS} walks were moved to its limit"
        warnings.warn(f"{what}. The model, or what is given, says that it lies beyond", LimitWarning, stacklevel=2)
    codes = {
        name: torch.where(rows[:, None], drawn[0][name].clamp(*bounds[name]), drawn[0][name])
        for name, rows in left.items()
    }
    return ({**drawn[0], **codes}, *drawn[1:])


def _outside(
    codes: Mapping[str, AnyCode], given: Mapping[str, Evidence], bounds: Mapping[str, Bounds]
) -> dict[str, Bool[Tensor, "b"]]:
    """For each number with bounds, the rows in which it was drawn beyond them."""
    found = {}
    for name, (low, high) in bounds.items():
        beyond = ((codes[name] < low) | (codes[name] > high))[:, 0]
        held = name in given and given[name].sd is None
        found[name] = beyond & ~given[name].known[:, 0].to(beyond.device) if held else beyond
    return found
