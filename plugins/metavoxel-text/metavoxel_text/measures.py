"""BLEU and ROUGE-L of predicted texts.

BLEU (Papineni et al. 2002) of a set of texts, with one reference each, lower-cased words and marks as tokens, p_k the
share of the predicted k-grams that are in their reference (clipped), c and r the numbers of predicted and of reference
tokens:

    BLEU-n = min(1, exp(1 - r / c)) (p_1 ... p_n)^(1 / n).                                                       (1)

A p_k of 0 has half a match instead, halved again for each further one, as in NIST's mteval ("exp" in sacreBLEU,
Post 2018). ROUGE-L (Lin 2004) is the mean over texts of the F1 score of the longest common subsequence of tokens:

    P = l / c,    R = l / r,    F = 2 P R / (P + R).                                                             (2)
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Float64

from metavoxel.parts.variables.measures import AbstractMeasure
from metavoxel_text.words import bare, tokens_of

MOST = 4
"""Longest k-grams of BLEU."""


def tokens(text: str) -> list[str]:
    """Split a text into lower-cased words and marks."""
    return [bare(token).lower() for token in tokens_of(text)]


def _grams(words: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(length)), strict=False))


@final
class Bleu(AbstractMeasure):
    """BLEU-n of eq. (1), between 0 and 1; 0 without any predicted n-gram."""

    higher_is_better = True

    def __init__(self, length: int) -> None:
        self.name, self._length = f"BLEU-{length}", length

    def statistics(self, predicted: Sequence[str], true: Sequence[str]) -> Float64[np.ndarray, "n k"]:
        found = np.zeros((len(predicted), 2 * self._length + 2))
        for row, (text, reference) in enumerate(zip(predicted, true, strict=True)):
            words, known = tokens(text), tokens(reference)
            for length in range(1, self._length + 1):
                grams = _grams(words, length)
                found[row, length - 1] = (grams & _grams(known, length)).total()
                found[row, self._length + length - 1] = grams.total()
            found[row, -2:] = len(words), len(known)
        return found

    def value(self, totals: Float64[np.ndarray, " k"]) -> float:
        *counts, predicted, reference = totals.tolist()
        matches, grams = counts[: self._length], counts[self._length :]
        if not grams[-1] or not matches[0]:
            return 0.0
        logs, half = 0.0, 1.0
        for match, gram in zip(matches, grams, strict=True):
            if not match:
                half /= 2
            logs += math.log((match or half) / gram)
        return math.exp(min(0.0, 1 - reference / predicted) + logs / self._length)


@final
class RougeL(AbstractMeasure):
    """Mean ROUGE-L of eq. (2), between 0 and 1, of words and numbers without marks."""

    name = "ROUGE-L"
    higher_is_better = True

    def statistics(self, predicted: Sequence[str], true: Sequence[str]) -> Float64[np.ndarray, "n 2"]:
        scores = [_common_f1(_words(text), _words(reference)) for text, reference in zip(predicted, true, strict=True)]
        return np.stack([np.array(scores, np.float64), np.ones(len(scores))], 1)

    def value(self, totals: Float64[np.ndarray, " 2"]) -> float:
        return float(totals[0] / totals[1]) if totals[1] else 0.0


def _words(text: str) -> list[str]:
    """Return lower-cased letters and digits between other characters, as the original script has them."""
    return re.findall(r"[a-z0-9]+", text.lower())


def _common_f1(words: Sequence[str], known: Sequence[str]) -> float:
    before = [0] * (len(known) + 1)
    for word in words:
        row = [0]
        for place, other in enumerate(known):
            row.append(before[place] + 1 if word == other else max(row[-1], before[place + 1]))
        before = row
    return 2 * before[-1] / (len(words) + len(known)) if before[-1] else 0.0
