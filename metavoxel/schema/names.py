"""Valid names of variables, after which files and columns are named."""

import unicodedata
from collections.abc import Iterable, Iterator

from metavoxel.errors import Problem

MAX_LENGTH = 64
"""Maximum characters of a variable's name. File names add up to forty, and most systems allow 255 bytes."""

_MAX_BYTES = 200
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)))
)
"""Device names reserved by Windows, with any file extension."""


def problem_of_name(name: str) -> str | None:
    """Describe why a variable's name is invalid; None if it is valid."""
    if not name.replace("_", "").isalnum():
        return "a variable's name is made of letters, digits and _ (give the table's name as 'column')"
    if len(name) > MAX_LENGTH or len(name.encode()) > _MAX_BYTES:
        return (
            f"has more than {MAX_LENGTH} characters, and files are named after it (give the table's name as 'column')"
        )
    if name.casefold() in _RESERVED:
        return "is a device name on Windows, and files are named after variables; choose another, and set 'column'"
    return None


def collisions(names: Iterable[str]) -> Iterator[Problem]:
    """Yield names whose files would coincide on case-insensitive systems."""
    first: dict[str, str] = {}
    for name in names:
        if len(name) > MAX_LENGTH:  # already refused by problem_of_name
            continue
        earlier = first.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if earlier != name:
            what = (
                f"differs from {earlier!r} only in upper and lower case, and files are named after variables; "
                "choose another, and set 'column'"
            )
            yield Problem(f"variables.{name}", what)
