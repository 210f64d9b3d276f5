"""Random damage to the text of tables and schemas."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

ODD_NUMBERS = (
    "",
    "-0",
    "+5",
    "1.",
    ".5",
    ".",
    "5e",
    "--1",
    "1e999",
    "-1e999",
    "1e-400",
    "1e99999999999999999999",
    "-9.99e2",
    "-999.0",
    "-999",
    "1_000",
    "0x10",
    "0o17",
    "010",
    "8:30",
    "1,5",
    "1 000",
    "<5",
    "12 months",
    "30-39",
    "\u22125",  # typographic minus sign
    "\u0661\u0662",  # Arabic digits
    "\u00bd",
    "\u00b2",
    "inf",
    "-Infinity",
    "nan",
    "NaN(5)",
    ".inf",
    ".nan",
    "1d3",
    "True",
    "null",
    "n/a",
    "2020-01-01",
    "9" * 400,
    "1" * 5000,
    "0." + "0" * 2000 + "1",
    "1e" + "9" * 5000,
)
"""Number formats that only some readers accept, and strings that denote no number."""

ODD_CHARACTERS = tuple(
    "\"',;\t|\n\r\0 #=:-[]{}&*!?%@`~<>\\/_\x0b\x0c\x1c\x1a\x7f\x85\xa0\xad\u0301\u200b\u200f\u2028\ufeff\ufffd\U0001f9e0"
)
"""Characters with a meaning in tables or YAML, and invisible characters."""


def one_of(choices: Sequence[Item], rng: np.random.Generator) -> Item:
    """Choose one item uniformly."""
    return choices[int(rng.integers(len(choices)))]


def with_odd_character(text: str, rng: np.random.Generator) -> str:
    """Replace one character by an odd one, or insert one."""
    at = int(rng.integers(len(text) + 1))
    return text[:at] + one_of(ODD_CHARACTERS, rng) + text[at + int(rng.integers(2)) :]


def with_piece_moved(text: str, rng: np.random.Generator) -> str:
    """Remove, repeat or move a piece of the text."""
    start, end, target = sorted(int(at) for at in rng.integers(len(text) + 1, size=3))
    mode = int(rng.integers(3))
    if mode == 0:
        return text[: min(start + 40, end)] + text[end:]
    if mode == 1:
        return text[:end] + text[start:end] + text[end:]
    return text[:start] + text[end:target] + text[start:end] + text[target:]


def encoded(text: str, rng: np.random.Generator) -> bytes:
    """Encode as UTF-8, or rarely in another encoding, with a byte order mark, a changed byte, or truncated."""
    mode = int(rng.integers(20))
    if mode < 4:
        coding = ("utf-8-sig", "utf-16", "latin-1", "cp1252")[mode]
        return text.encode(coding, "replace")
    content = bytearray(text.encode())
    if mode == 4:
        return b"\xef\xbb\xbf\xef\xbb\xbf" + content
    if mode == 5:
        return bytes(content[: int(rng.integers(len(content) + 1))])
    if mode == 6 and content:
        content[int(rng.integers(len(content)))] = int(rng.integers(256))
    return bytes(content)
