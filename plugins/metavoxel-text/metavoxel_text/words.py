"""Words and punctuation of a text, and its characters as numbers.

A token is a word, or one punctuation mark before or after a word. A token that follows another without a space starts
with ``JOINED``, a control character, which no text contains. So a text is its tokens, up to white space.
"""

import re
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Int32
from torch import Tensor

JOINED = "\b"
"""First character of a token that follows the one before without a space."""
MASK = "[MASK]"
"""Word that stands for one unknown token of a given text."""
REST = "[...]"
"""Last word of a given text of which the rest is unknown."""
UNKNOWN = "[UNK]"
"""Word shown for a token that is not in the vocabulary."""

_MARKS = ".,;:!?()[]{}\"'"
_WHOLE = re.compile("|".join(map(re.escape, (MASK, REST, UNKNOWN))))
_TOKEN = re.compile(rf"{_WHOLE.pattern}|[{re.escape(_MARKS)}]|.+?(?=[{re.escape(_MARKS)}]*$)|.+")


def tokens_of(text: str) -> list[str]:
    """Split a text into tokens; marks inside a word (3.5) do not split it."""
    found: list[str] = []
    for word in text.split():
        parts = _TOKEN.findall(word)
        found += [part if index == 0 else JOINED + part for index, part in enumerate(parts)]
    return found


def text_of(tokens: Sequence[str]) -> str:
    """Join tokens to a text, the inverse of :func:`tokens_of`."""
    return "".join(token[1:] if token.startswith(JOINED) else f" {token}" for token in tokens).strip()


def bare(token: str) -> str:
    """Return a token without ``JOINED``."""
    return token.removeprefix(JOINED)


def characters_of(text: str, length: int) -> Int32[Tensor, "l"]:
    """Return the code points of a text, cut to ``length`` and filled with zeros."""
    points = [ord(character) for character in text[:length]]
    return torch.tensor(points + [0] * (length - len(points)), dtype=torch.int32)


def text_from(characters: Tensor) -> str:
    """Return the text of code points (l,), the inverse of :func:`characters_of`."""
    return "".join(chr(point) for point in characters.long().tolist() if point)


def agreement(text: str, other: str) -> float:
    """Return the F1 score of the tokens that two texts share, between 0 and 1; 1 for two empty texts."""
    first, second = Counter(tokens_of(text)), Counter(tokens_of(other))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0
