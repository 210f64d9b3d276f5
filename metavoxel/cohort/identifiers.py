"""Labels of subjects and sessions as folders and tables write them, and which of a table's are which of a folder's."""

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
    """Which identifier of a folder each of a table's is.

    Attributes:
        found: for every identifier of the table, the folder's; its own, prefixed, where the folder has none.
        joined: those of the table, as written, that differ from the folder's in zeros or case.
        unclear: those of the table that several of the folder's may be, and these.
    """

    found: dict[str, str]
    joined: dict[str, str]
    unclear: dict[str, list[str]]


def prefixed(prefix: str, label: str) -> str:
    """``label`` with its prefix: ``01``, ``sub-01`` and ``SUB-01`` are ``sub-01``; nothing stays nothing."""
    if not label:
        return label
    return prefix + (label[len(prefix) :] if label.casefold().startswith(prefix) else label)


def simplified(prefix: str, label: str) -> str:
    """``label`` without its prefix, case and leading zeros, which spreadsheets change: ``SUB-007`` is ``7``."""
    bare = label.casefold().removeprefix(prefix)
    return _DIGITS.sub(lambda digits: str(int(digits[0])), bare)


def match_identifiers(prefix: str, table: Iterable[str], folder: Collection[str]) -> Matching:
    """Find each identifier of a table among those of a folder (with ``prefix``): as written, or simplified.

    An identifier that is written as one of the folder's is that one. Any other is the one of the folder's that it
    equals when both are simplified; where several do, it is unclear.
    """
    near: dict[str, list[str]] = defaultdict(list)
    for identifier in sorted(folder):
        near[simplified(prefix, identifier)].append(identifier)
    exact = set(folder)
    found: dict[str, str] = {}
    joined: dict[str, str] = {}
    unclear: dict[str, list[str]] = {}
    for written in dict.fromkeys(table):
        own = prefixed(prefix, written)
        candidates = [own] if own in exact else near.get(simplified(prefix, written), []) if own else []
        found[written] = candidates[0] if len(candidates) == 1 else own
        if len(candidates) > 1:
            unclear[written] = candidates
        elif candidates and candidates[0] != own:
            joined[written] = candidates[0]
    return Matching(found, joined, unclear)


def some(names: Iterable[str]) -> str:
    """``a, b, c and 5 more``: the first few names, in order."""
    ordered = sorted(set(names))
    return ", ".join(ordered[:_EXAMPLES]) + (
        f" and {len(ordered) - _EXAMPLES} more" if len(ordered) > _EXAMPLES else ""
    )
