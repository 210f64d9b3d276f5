"""Damage to texts that tables and schemas have in common."""

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
    "\u22125",  # a minus sign of typography
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
"""Numbers in forms that some reader takes and another does not, and words that stand for none."""

ODD_CHARACTERS = tuple(
    "\"',;\t|\n\r\0 #=:-[]{}&*!?%@`~<>\\/_\x0b\x0c\x1c\x1a\x7f\x85\xa0\xad\u0301\u200b\u200f\u2028\ufeff\ufffd\U0001f9e0"
)
"""Signs that mean something to a reader of tables or YAML, and characters that are hardly seen."""


def one_of(choices: Sequence[Item], rng: np.random.Generator) -> Item:
    """One of some choices."""
    return choices[int(rng.integers(len(choices)))]


def with_odd_character(text: str, rng: np.random.Generator) -> str:
    """One character replaced by an odd one, or an odd one before it."""
    at = int(rng.integers(len(text) + 1))
    return text[:at] + one_of(ODD_CHARACTERS, rng) + text[at + int(rng.integers(2)) :]


def with_piece_moved(text: str, rng: np.random.Generator) -> str:
    """A piece of the text is removed, repeated, or put elsewhere."""
    start, end, target = sorted(int(at) for at in rng.integers(len(text) + 1, size=3))
    way = int(rng.integers(3))
    if way == 0:
        return text[: min(start + 40, end)] + text[end:]
    if way == 1:
        return text[:end] + text[start:end] + text[end:]
    return text[:start] + text[end:target] + text[start:end] + text[target:]


def encoded(text: str, rng: np.random.Generator) -> bytes:
    """Most often UTF-8; else another encoding, a mark at the start, a changed byte, or the end cut off."""
    way = int(rng.integers(20))
    if way < 4:
        coding = ("utf-8-sig", "utf-16", "latin-1", "cp1252")[way]
        return text.encode(coding, "replace")
    content = bytearray(text.encode())
    if way == 4:
        return b"\xef\xbb\xbf\xef\xbb\xbf" + content
    if way == 5:
        return bytes(content[: int(rng.integers(len(content) + 1))])
    if way == 6 and content:
        content[int(rng.integers(len(content)))] = int(rng.integers(256))
    return bytes(content)
