"""Comparison of texts of cells, labels and codes: equality and visual similarity."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")

_LONGEST = 1000
"""Maximum length of texts to normalise, as time is quadratic in the number of consecutive accents."""


def composed(text: str) -> str:
    """Return the text in Unicode normal form C, which composes letters with combining accents.

    Texts of more than a thousand characters, which cannot be labels, are returned unchanged.
    """
    return unicodedata.normalize("NFC", text) if len(text) <= _LONGEST else text


def decimal_number(text: str) -> Decimal | None:
    """Parse a text as an exact number; None for other texts and for numbers with leading zeros, which are codes."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # the exponent is out of range
        return None


def position(cell: str, texts: Sequence[str]) -> int | None:
    """Return the index of a cell among labels or codes; None if it is not among them.

    Texts match if they are equal, or are the same integer up to zero decimals: 1 matches 1.0, as pandas writes integers
    in a column with missing values. Otherwise they are not compared as numbers: 3.10 is not 3.1, 1E2 is not 100, and 01
    is not 1.
    """
    if cell in texts:
        return texts.index(cell)
    whole = _whole_number(cell)
    if whole is None:
        return None
    return next((index for index, text in enumerate(texts) if _whole_number(text) == whole), None)


def _whole_number(text: str) -> int | None:
    match = _WHOLE.fullmatch(text)
    return None if match is None or len(text) > 1000 else int(match[1])


def looks_like(text: str, other: str) -> bool:
    """Return whether two different texts look the same: equal in Unicode compatibility form, up to white space."""
    return text != other and _shown(text) == _shown(other)


def _shown(text: str) -> str:
    shown = unicodedata.normalize("NFKC", text) if len(text) <= _LONGEST else text
    return " ".join(shown.split())


def lookalikes(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of different texts that look the same: each text with the first such text."""
    first: dict[str, str] = {}
    pairs: dict[tuple[str, str], None] = {}
    for text in texts:
        shown = _shown(text)
        one = first.setdefault(text if shown == text else shown, text)
        if one != text:
            pairs[one, text] = None
    return list(pairs)


def difference(text: str, other: str) -> str:
    """Return the names of the characters that only one of two texts contains."""
    characters = sorted(set(text) ^ set(other))
    named = [f"{unicodedata.name(one, 'a character')} (U+{ord(one):04X})" for one in characters]
    return ", ".join(named) or "the number of spaces"
