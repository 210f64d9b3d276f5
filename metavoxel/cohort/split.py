"""Division of subjects into train, validation and test."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from metavoxel.errors import CohortError, Problem, did_you_mean
from metavoxel.schema.settings import SplitSettings

PARTS = ("train", "validation", "test")
_BINS = 4
"""Quantile bins of a number that is stratified by."""


def draw_split(
    subjects: Sequence[str], strata: Mapping[str, Sequence[str | float | None]], settings: SplitSettings
) -> list[str]:
    """The part of every row, drawn by subject; the same whatever the order of the rows.

    Part sizes are the shares of the subjects, rounded. Subjects are lined up by stratum, and in an order that the seed
    shuffles within each; walking the line, the next subject goes to the part that is furthest behind its share, so
    every stratum is shared out evenly.

    Args:
        subjects: subject of each row.
        strata: for each variable to stratify by, a label, a number or None for each row; a subject with several rows
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
    line = sorted(names, key=lambda subject: (keys[subject], _shuffle_key(settings.seed, subject)))
    part_of: dict[str, str] = {}
    counts = dict.fromkeys(PARTS, 0)
    for place, subject in enumerate(line, start=1):
        open_parts = [part for part in PARTS if counts[part] < targets[part]]
        part = max(open_parts, key=lambda part: targets[part] / len(names) * place - counts[part])
        part_of[subject] = part
        counts[part] += 1
    return [part_of[subject] for subject in subjects]


def read_split(
    subjects: Sequence[str], cells: Sequence[str], places: Sequence[str], settings: SplitSettings
) -> list[str]:
    """The part of every row as a column of the table says it.

    Raises:
        CohortError: other words than train, validation and test, a subject in two parts, or an empty part.
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
    """Whole numbers with the sum ``total``, by largest remainder."""
    targets = {part: int(total * share + 1e-9) for part, share in shares.items()}
    by_remainder = sorted(shares, key=lambda part: targets[part] - total * shares[part])
    for part in by_remainder[: total - sum(targets.values())]:
        targets[part] += 1
    return targets


def _strata_of(subjects: Sequence[str], values: Sequence[str | float | None]) -> dict[str, str]:
    """The stratum of every subject: a label, the quantile bin of a number, or that of the missing."""
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
