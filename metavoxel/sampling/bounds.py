"""Rejection sampling: rows with a value outside its variable's bounds are redrawn."""

import warnings
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from metavoxel.errors import BoundWarning
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import Evidence
from metavoxel.typing import AnyCode

Bounds: TypeAlias = tuple[float, float]
"""Lowest and highest code of a scalar."""

MOST_TRIALS = 16
"""Maximum number of trials of a draw; values outside their bounds in the last one are clipped."""


def codes_between(codec: AbstractCodec, bounds: tuple[float, float], device: torch.device) -> Bounds | None:
    """Return the lowest and highest code whose value is within bounds; None if a bound has no code.

    Where several codes decode to a bound, all are within. Where rounding decodes the code of a bound to a value beyond
    it, the next code within is returned.

    Args:
        codec: of a scalar.
        bounds: lowest and highest value, in the variable's unit.
        device: of the codec.
    """
    lowest, highest = codec.code_interval(torch.tensor(bounds, dtype=torch.float64, device=device))
    codes = torch.stack([lowest[0], highest[1]])
    if codes.isnan().any():
        return None
    decoded = codec.decode(codes)
    beyond = (decoded < bounds[0]) | (decoded > bounds[1])
    codes = torch.where(beyond, torch.nextafter(codes[:, 0], codes[:, 0].flip(0)), codes[:, 0])
    return float(codes.min()), float(codes.max())


def drawn_within(
    draw: Callable[[Mapping[str, Evidence], Rng], tuple[dict[str, AnyCode], ...]],
    given: Mapping[str, Evidence],
    rng: Rng,
    bounds: Mapping[str, Bounds],
) -> tuple[dict[str, AnyCode], ...]:
    """Sample p(unknown | given, all values within bounds): redraw every row with a value out of bounds, as a whole.

    Args:
        draw: from evidence and streams to codes, and any further results by variable.
        given: evidence. Exactly known values are not drawn, and have no bounds.
        rng: streams of the rows.
        bounds: by variable; of variables that are not drawn, they are ignored.
    """
    drawn = draw(given, rng)
    bounds = {name: interval for name, interval in bounds.items() if name in drawn[0]}
    for trial in range(1, MOST_TRIALS):
        rejected = torch.zeros(len(rng), dtype=torch.bool)
        for outside in _outside(drawn[0], given, bounds).values():
            rejected |= outside.cpu()
        again = rejected.nonzero()[:, 0]
        if not len(again):
            return drawn
        fresh = draw({name: entry.of_rows(again) for name, entry in given.items()}, rng[again].fork("outside", trial))
        drawn = tuple(
            {name: old.index_copy(0, again.to(old.device), new[name]) for name, old in part.items()}
            for part, new in zip(drawn, fresh, strict=True)
        )
    left = _outside(drawn[0], given, bounds)
    for name in [name for name, rows in left.items() if rows.any()]:
        what = f"{name}: draws still outside 'valid' after {MOST_TRIALS} trials were clipped to its bound"
        warnings.warn(
            f"{what}. Given the evidence, the model has little probability within", BoundWarning, stacklevel=2
        )
    codes = {
        name: torch.where(rows[:, None], drawn[0][name].clamp(*bounds[name]), drawn[0][name])
        for name, rows in left.items()
    }
    return ({**drawn[0], **codes}, *drawn[1:])


def _outside(
    codes: Mapping[str, AnyCode], given: Mapping[str, Evidence], bounds: Mapping[str, Bounds]
) -> dict[str, Bool[Tensor, "b"]]:
    """Return the rows in which each variable with bounds was drawn outside them."""
    found = {}
    for name, (low, high) in bounds.items():
        beyond = ((codes[name] < low) | (codes[name] > high))[:, 0]
        exact = name in given and given[name].sd is None
        found[name] = beyond & ~given[name].known[:, 0].to(beyond.device) if exact else beyond
    return found
