"""Short texts, such as reports."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64, Int32
from metavoxel_absorbing import MaskedKernel
from pydantic import Field, PositiveInt
from torch import Tensor

from metavoxel.parts.adapters.sequence import SequenceAdapterSpec
from metavoxel.parts.variables.base import AbstractVariableSpec, Example, Missing, Parts, Point
from metavoxel.parts.variables.column import Column
from metavoxel.parts.variables.measures import AbstractMeasure
from metavoxel.parts.variables.summaries import AbstractSummary
from metavoxel_text.codec import CHARACTERS, WordsSpec
from metavoxel_text.measures import MOST, Bleu, RougeL
from metavoxel_text.words import MASK, REST, agreement, bare, characters_of, text_from, text_of, tokens_of


@final
@dataclass(frozen=True)
class Texts(AbstractSummary):
    """Number of texts, of different texts and words, and lengths in tokens."""

    texts: int
    distinct: int
    words: int
    shortest: int
    longest: int

    def text(self, unit: str) -> str:
        lengths = f"{self.shortest} to {self.longest} tokens"
        return f"{self.texts} texts, {self.distinct} of them different; {lengths}, {self.words} different words"


class TextSpec(AbstractVariableSpec):
    """Settings of a short text, such as a report: a sequence of words under masked diffusion.

    A value is the code points of the text (16 for each token), filled with zeros.
    """

    has_mean: ClassVar[bool] = False
    is_text: ClassVar[bool] = True

    type: Literal["text"] = "text"
    tokens: PositiveInt = Field(64, description="most tokens of a text: words and punctuation marks")
    vocabulary: int = Field(1000, ge=3, description="most different words of the model")
    least_rows: PositiveInt = Field(3, description="number of training rows below which a word is not kept")
    cut: bool = Field(False, description="whether texts of more tokens are cut, instead of refused")

    @classmethod
    def examples(cls) -> Sequence[Example]:
        cells = ["No effusion.", "Small effusion, on the left (new).", "no mass", "No mass;  no effusion.", "3.5 cm"]
        return [Example(cls(tokens=12, vocabulary=30), cells), Example(cls(tokens=4, cut=True), cells)]

    @property
    def data_shape(self) -> tuple[int, ...]:
        return (CHARACTERS * self.tokens,)

    def parts(self) -> Parts:
        codec = WordsSpec(tokens=self.tokens, vocabulary=self.vocabulary, least_rows=self.least_rows)
        return Parts(codec, MaskedKernel(order="left"), SequenceAdapterSpec())

    def problems(self, parts: Parts) -> list[str]:
        found = []
        if not parts.adapter.is_sequence:
            found.append(f"adapter {parts.adapter.type!r} has no token for each word; use 'sequence'")
        if isinstance(parts.codec, WordsSpec) and parts.codec.tokens != self.tokens:
            found.append(f"the codec has {parts.codec.tokens} tokens, and the variable {self.tokens}; set one number")
        return found

    def parse(self, cell: str) -> Int32[Tensor, "l"] | Missing:
        return self._parsed(cell, gaps=False)

    def parse_given(self, cell: str) -> Int32[Tensor, "l"] | Missing:
        """Parse a text in which ``[MASK]`` is an unknown token, and ``[...]`` at the end an unknown rest."""
        return self._parsed(cell, gaps=True)

    def _parsed(self, cell: str, *, gaps: bool) -> Int32[Tensor, "l"] | Missing:
        text = unicodedata.normalize("NFC", cell[: 64 * self.data_shape[0]])
        for place, character in enumerate(text, 1):
            if unicodedata.category(character) in ("Cc", "Cs", "Co") and not character.isspace():
                raise ValueError(f"character {place} is the control character U+{ord(character):04X}; remove it")
            if character == "\N{REPLACEMENT CHARACTER}":
                raise ValueError(f"character {place} is U+FFFD, left by text of another encoding; save it as UTF-8")
        tokens = tokens_of(text)
        if not tokens:
            return Missing("blank")
        marked = [place for place, token in enumerate(tokens) if bare(token) in (MASK, REST)]
        if marked and not gaps:
            raise ValueError(f"{MASK} and {REST} stand for unknown words, in values given outside a table alone")
        if any(bare(tokens[place]) == REST for place in marked if place < len(tokens) - 1):
            raise ValueError(f"{REST} stands for the unknown rest of a text: give it last, or {MASK} for each word")
        if len(tokens) > self.tokens and not self.cut:
            raise ValueError(
                f"has {len(tokens)} tokens, more than 'tokens' ({self.tokens}): raise it, or set 'cut: true'"
            )
        text = text_of(tokens[: self.tokens])
        if len(text) > self.data_shape[0] and not self.cut:
            raise ValueError(f"has {len(text)} characters, more than {CHARACTERS} for each of {self.tokens} tokens")
        return characters_of(text, self.data_shape[0])

    def format(self, value: Tensor) -> str:
        return text_from(value)

    def center(self, values: Tensor, point: Point) -> Float64[Tensor, "*d"]:
        """Return the draw that shares most tokens with the others, the first on a tie."""
        if values.ndim > 2:
            return torch.stack([self.center(draws, point) for draws in values.unbind(1)])
        texts = [text_from(draw) for draw in values]
        scores = [sum(agreement(text, other) for other in texts) for text in texts]
        return values[scores.index(max(scores))].double()

    def measures(self) -> Sequence[AbstractMeasure]:
        """Return BLEU-1 to BLEU-4 and ROUGE-L."""
        return [*map(Bleu, range(1, MOST + 1)), RougeL()]

    def summary(self, column: Column) -> AbstractSummary:
        texts = [text_from(value) for value in column.read(column.rows)]
        tokens = [tokens_of(text) for text in texts]
        words = {bare(token) for one in tokens for token in one}
        lengths = [len(one) for one in tokens]
        return Texts(len(texts), len(set(texts)), len(words), min(lengths), max(lengths))
