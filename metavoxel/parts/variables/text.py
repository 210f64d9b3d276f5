"""Texts of cells, labels and codes: when two are the same, and when they only look so."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")

_LONGEST = 1000
"""Characters of a text that is normalised: no label has more, and time grows as the square of accents in a row."""


def composed(text: str) -> str:
    """The text in Unicode's normal form C: an accent that is a character of its own joins its letter.

    Texts of more than a thousand characters, which are no labels, stay as they are.
    """
    return unicodedata.normalize("NFC", text) if len(text) <= _LONGEST else text


def decimal_number(text: str) -> Decimal | None:
    """The exact number that a text is; None of other texts, and of numbers with leading zeros, which are codes."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all bounds
        return None


def position(cell: str, texts: Sequence[str]) -> int | None:
    """Where a cell is among some labels or codes; None where it is not.

    The same text, or else the same whole number with or without decimals that are 0: 1 is 1.0, as pandas writes a
    column of whole numbers with gaps. Otherwise texts are not compared as numbers: 3.10 is not 3.1, 1E2 not 100, 01
    not 1.
    """
    if cell in texts:
        return texts.index(cell)
    whole = _whole_number(cell)
    if whole is None:
        return None
    return next((index for index, text in enumerate(texts) if _whole_number(text) == whole), None)


def _whole_number(text: str) -> int | None:
    found = _WHOLE.fullmatch(text)
    return None if found is None or len(text) > 1000 else int(found[1])


def looks_like(text: str, other: str) -> bool:
    """Whether two different texts are the same to the eye: in Unicode's compatibility form, whatever their spaces."""
    return text != other and _shown(text) == _shown(other)


def _shown(text: str) -> str:
    shown = unicodedata.normalize("NFKC", text) if len(text) <= _LONGEST else text
    return " ".join(shown.split())


def lookalikes(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different texts that look the same: each with the first that looks so."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(_shown(text), text), text) for text in texts]
    return list(dict.fromkeys((one, other) for one, other in pairs if one != other))


def difference(text: str, other: str) -> str:
    """The characters that one of two texts has and the other has not, by name."""
    characters = sorted(set(text) ^ set(other))
    named = [f"{unicodedata.name(one, 'a character')} (U+{ord(one):04X})" for one in characters]
    return ", ".join(named) or "the number of spaces"
