"""Split subjects into train, validation and test."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from metavoxel.errors import CohortError, Problem, did_you_mean
from metavoxel.schema.settings import SplitSettings

PARTS = ("train", "validation", "test")
_BINS = 4
"""Number of quantile bins of a continuous stratification variable."""


def draw_split(
    subjects: Sequence[str], strata: Mapping[str, Sequence[str | float | None]], settings: SplitSettings
) -> list[str]:
    """Draw the part of every row by subject, independent of row order.

    Part sizes are the rounded shares of the subjects. Subjects are sorted by stratum and shuffled by the seed within
    each. In that order, each subject is assigned to the part furthest below its share, so that every stratum is divided
    evenly.

    Args:
        subjects: subject of each row.
        strata: for each stratification variable, a label, a number or None for each row; a subject with several rows
            counts with its smallest value.
        settings: shares and seed.

    Raises:
        CohortError: a part with a share above 0 gets no subject.
    """
    names = sorted(set(subjects))
    shares = {part: getattr(settings, part) for part in PARTS}
    targets = _round_shares(len(names), shares)
    empty = [part for part in PARTS if shares[part] > 0 and targets[part] == 0]
    if empty:
        what = f"{len(names)} subjects leave {' and '.join(empty)} empty; give more subjects or other shares"
        raise CohortError(Problem("cohort.split", what))
    digests = np.frombuffer(b"".join(_shuffle_key(settings.seed, subject) for subject in names), ">u8").reshape(-1, 2)
    order = np.lexsort((digests[:, 1], digests[:, 0], _stratum_ranks(names, subjects, strata)))
    parts = _nearest_parts([targets[part] for part in PARTS])
    part_of = {names[place]: PARTS[part] for place, part in zip(order.tolist(), parts, strict=True)}
    return [part_of[subject] for subject in subjects]


def _stratum_ranks(
    names: Sequence[str], subjects: Sequence[str], strata: Mapping[str, Sequence[str | float | None]]
) -> Int64[np.ndarray, "n"]:
    """Rank of the strata of each subject, all variables together; 0 without strata."""
    if not strata:
        return np.zeros(len(names), np.int64)
    keys: dict[str, list[str]] = {subject: [] for subject in names}
    for values in strata.values():
        for subject, stratum in _strata_of(subjects, values).items():
            keys[subject].append(stratum)
    ranks = {key: rank for rank, key in enumerate(sorted({tuple(key) for key in keys.values()}))}
    return np.array([ranks[tuple(keys[subject])] for subject in names])


def _nearest_parts(targets: Sequence[int]) -> Iterator[int]:
    """Yield the part of each subject in order: the one furthest below its share that is not full."""
    total, counts = sum(targets), [0] * len(targets)
    shares = [target / total for target in targets]
    for rank in range(1, total + 1):
        best, furthest = -1, -math.inf
        for part, target in enumerate(targets):
            below = shares[part] * rank - counts[part]
            if counts[part] < target and below > furthest:
                best, furthest = part, below
        counts[best] += 1
        yield best


def read_split(
    subjects: Sequence[str], cells: Sequence[str], places: Sequence[str], settings: SplitSettings
) -> list[str]:
    """Read the part of every row from a column of the table.

    Raises:
        CohortError: cells other than train, validation and test, a subject in two parts, or an empty part.
    """
    problems = []
    part_of: dict[str, str] = {}
    parts = [cell.lower() for cell in cells]
    for subject, part, cell, place in zip(subjects, parts, cells, places, strict=True):
        named = place if f"({subject})" in place else f"{place} ({subject})"
        where = f"{named}, column {settings.column}"
        if part not in PARTS:
            what = f"{cell!r} is none of {', '.join(PARTS)}.{did_you_mean(part, PARTS)}"
            problems.append(Problem(where, what))
        elif part_of.setdefault(subject, part) != part:
            problems.append(Problem(where, f"{part!r}, but another row of this subject is in {part_of[subject]!r}"))
    problems += [
        Problem(
            f"cohort.split, column {settings.column}",
            f"no row is in {part}" + (" (with a share of 0, 'test' may be empty)" if part == "test" else ""),
        )
        for part in PARTS
        if part not in parts and getattr(settings, part) > 0
    ]
    if problems:
        raise CohortError(problems)
    return parts


def _round_shares(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Round the shares of ``total`` to integers by the largest-remainder method."""
    targets = {part: int(total * share + 1e-9) for part, share in shares.items()}
    by_remainder = sorted(shares, key=lambda part: targets[part] - total * shares[part])
    for part in by_remainder[: total - sum(targets.values())]:
        targets[part] += 1
    return targets


def _strata_of(subjects: Sequence[str], values: Sequence[str | float | None]) -> dict[str, str]:
    """Stratum of every subject: its label, the quantile bin of its number, or 'missing'."""
    of_subject: dict[str, list[str | float]] = {subject: [] for subject in subjects}
    for subject, value in zip(subjects, values, strict=True):
        if value is not None:
            of_subject[subject].append(value)
    first = {
        subject: min(found, key=lambda v: (str(type(v)), v)) if found else None for subject, found in of_subject.items()
    }
    numbers = [value for value in first.values() if isinstance(value, int | float)]
    edges = np.quantile(numbers, np.arange(1, _BINS) / _BINS) if numbers else np.array([])
    return {
        subject: "missing"
        if value is None
        else f"label {value}"
        if isinstance(value, str)
        else f"bin {np.searchsorted(edges, value, side='right')}"
        for subject, value in first.items()
    }


def _shuffle_key(seed: int, subject: str) -> bytes:
    return hashlib.blake2b(repr((seed, subject)).encode(), digest_size=16).digest()
