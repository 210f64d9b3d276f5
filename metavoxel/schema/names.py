"""Names that a variable may have: files and columns are named after it."""

import unicodedata
from collections.abc import Iterable, Iterator

from metavoxel.errors import Problem

LONGEST = 64
"""Letters of a variable's name. Files add up to forty to it, and most systems allow 255 bytes."""

_MOST_BYTES = 200
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)))
)
"""Which Windows keeps for devices, whatever the file's ending."""


def problem_of_name(name: str) -> str | None:
    """What is wrong with a variable's name; None if nothing is."""
    if not name.replace("_", "").isalnum():
        return "a variable's name is made of letters, digits and _ (use 'column' for the table's name)"
    if len(name) > LONGEST or len(name.encode()) > _MOST_BYTES:
        return f"has more than {LONGEST} letters, and files are named after it (use 'column' for the table's name)"
    if name.casefold() in _RESERVED:
        return "is a device to Windows, and files are named after variables; choose another name, and say 'column'"
    return None


def collisions(names: Iterable[str]) -> Iterator[Problem]:
    """Names whose files would be the same on systems that know no upper and lower case."""
    first: dict[str, str] = {}
    for name in names:
        if len(name) > LONGEST:  # refused for that
            continue
        earlier = first.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if earlier != name:
            what = (
                f"differs from {earlier!r} in upper and lower case alone, and files are named after variables; "
                "choose another, and say 'column'"
            )
            yield Problem(f"variables.{name}", what)
