"""Split subjects into train, validation and test."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

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
    keys: dict[str, list[str]] = {subject: [] for subject in names}
    for values in strata.values():
        for subject, stratum in _strata_of(subjects, values).items():
            keys[subject].append(stratum)
    ordered = sorted(names, key=lambda subject: (keys[subject], _shuffle_key(settings.seed, subject)))
    part_of: dict[str, str] = {}
    counts = dict.fromkeys(PARTS, 0)
    for rank, subject in enumerate(ordered, start=1):
        open_parts = [part for part in PARTS if counts[part] < targets[part]]
        part = max(open_parts, key=lambda part: targets[part] / len(names) * rank - counts[part])
        part_of[subject] = part
        counts[part] += 1
    return [part_of[subject] for subject in subjects]


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
