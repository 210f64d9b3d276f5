"""Match the subject and session labels of tables to those of folders."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import final

_EXAMPLES = 3
_DIGITS = re.compile(r"\d+")


@final
@dataclass(frozen=True)
class Matching:
    """Table identifiers matched to folder identifiers.

    Attributes:
        found: folder identifier of each table identifier; without a match, the table's own with its prefix.
        joined: table identifiers, as written, that differ from the folder's in zeros or case.
        ambiguous: table identifiers that match several folder identifiers, with these.
    """

    found: dict[str, str]
    joined: dict[str, str]
    ambiguous: dict[str, list[str]]


def prefixed(prefix: str, label: str) -> str:
    """Add the prefix to ``label``: ``01``, ``sub-01`` and ``SUB-01`` become ``sub-01``; empty stays empty."""
    if not label:
        return label
    return prefix + (label[len(prefix) :] if label.casefold().startswith(prefix) else label)


def simplified(prefix: str, label: str) -> str:
    """Remove prefix, case and leading zeros, which spreadsheets change: ``SUB-007`` becomes ``7``."""
    bare = label.casefold().removeprefix(prefix)
    return _DIGITS.sub(lambda digits: str(int(digits[0])), bare)


def match_identifiers(prefix: str, table: Iterable[str], folder: Collection[str]) -> Matching:
    """Match each table identifier to a folder identifier (with ``prefix``): as written, or simplified.

    An exact match takes precedence. Otherwise an identifier matches the folder identifier that is equal after
    simplification; if several are equal, it is ambiguous.
    """
    near: dict[str, list[str]] = defaultdict(list)
    for identifier in sorted(folder):
        near[simplified(prefix, identifier)].append(identifier)
    exact = set(folder)
    found: dict[str, str] = {}
    joined: dict[str, str] = {}
    ambiguous: dict[str, list[str]] = {}
    for written in dict.fromkeys(table):
        own = prefixed(prefix, written)
        candidates = [own] if own in exact else near.get(simplified(prefix, written), []) if own else []
        found[written] = candidates[0] if len(candidates) == 1 else own
        if len(candidates) > 1:
            ambiguous[written] = candidates
        elif candidates and candidates[0] != own:
            joined[written] = candidates[0]
    return Matching(found, joined, ambiguous)


def some(names: Iterable[str]) -> str:
    """Format the first few names, in order: ``a, b, c and 5 more``."""
    ordered = sorted(set(names))
    return ", ".join(ordered[:_EXAMPLES]) + (
        f" and {len(ordered) - _EXAMPLES} more" if len(ordered) > _EXAMPLES else ""
    )
