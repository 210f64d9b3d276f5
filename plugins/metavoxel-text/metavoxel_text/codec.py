"""Texts as sequences of words of a vocabulary, which is fitted to the training rows."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Int32
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.parts.indices import classes_of
from metavoxel.typing import Code, Mask
from metavoxel_text.words import MASK, REST, UNKNOWN, bare, characters_of, text_from, text_of, tokens_of

CHARACTERS = 16
"""Characters of a value for each token of its code."""
LONGEST = 40
"""Characters of the longest word of a vocabulary."""
END, OTHER = 0, 1
"""Classes of the end of a text, which fills the rest of the code, and of words that are not in the vocabulary."""
MOST_UNKNOWN = 0.1
"""Share of a given text's tokens that may be unknown without a warning."""


class WordCodec(AbstractCodec):
    """Characters (b, l) of texts to the classes (b, 1, tokens) of their tokens. Final.

    The last token of a text is followed by ``END`` up to the end of the code. The vocabulary is stored with the
    weights, as code points.
    """

    support = "one_hot"
    indexed = True
    tolerance = math.inf

    def __init__(self, spec: "WordsSpec", length: int) -> None:
        super().__init__()
        self.code_shape = (spec.vocabulary, spec.tokens)
        self._least, self._length = spec.least_rows, length
        self.register_buffer("words", torch.zeros(spec.vocabulary, LONGEST, dtype=torch.int32))
        self.words: Tensor
        self._classes: dict[str, int] = {}
        self.register_load_state_dict_post_hook(_read_words)

    @property
    def vocabulary(self) -> list[str]:
        """Tokens of the vocabulary, the most frequent first."""
        return list(self._classes)

    def read_words(self) -> None:
        """Read the vocabulary from its buffer."""
        found = (text_from(row) for row in self.words[OTHER + 1 :].cpu())
        self._classes = {word: index for index, word in enumerate(found, OTHER + 1) if word}

    def fit(self, batches: Callable[[], Iterable[Int32[Tensor, "b l"]]]) -> None:
        """Keep the words of at least ``least_rows`` texts, at most as many as the vocabulary has room for."""
        texts: Counter[str] = Counter()
        for batch in batches():
            for row in batch:
                texts.update({token for token in tokens_of(text_from(row)) if bare(token) not in (MASK, REST, UNKNOWN)})
        kept = [word for word, rows in texts.items() if rows >= self._least and len(word) <= LONGEST]
        kept.sort(key=lambda word: (-texts[word], word))
        rows = [characters_of(word, LONGEST) for word in kept[: len(self.words) - OTHER - 1]]
        self.words.zero_()
        if rows:
            self.words[OTHER + 1 : OTHER + 1 + len(rows)] = torch.stack(rows).to(self.words)
        self.read_words()

    def encode(self, x: Int32[Tensor, "b l"]) -> Encoded:
        rows = [[self._classes.get(token, OTHER) for token in tokens_of(text_from(row))] for row in x]
        return encoded(rows, self.code_shape, x.device)

    def decode(self, z: Code) -> Int32[Tensor, "b l"]:
        words = {index: word for word, index in self._classes.items()}
        return decoded(z, lambda classes: text_of([words.get(index, UNKNOWN) for index in classes]), self._length)

    def known_cells(self, x: Int32[Tensor, "b l"]) -> Mask:
        """Return all cells but those of ``[MASK]``, and those from ``[...]`` on."""
        known = torch.ones(len(x), 1, self.code_shape[1], dtype=torch.bool, device=x.device)
        for row, characters in enumerate(x):
            for place, token in enumerate(tokens_of(text_from(characters))[: self.code_shape[1]]):
                if bare(token) in (MASK, REST):
                    known[row, 0, place : None if bare(token) == REST else place + 1] = False
        return known

    def evidence_warnings(self, x: Int32[Tensor, "b l"]) -> Iterator[str]:
        tokens = [token for row in x for token in tokens_of(text_from(row)) if bare(token) not in (MASK, REST)]
        unknown = [bare(token) for token in tokens if token not in self._classes]
        yield from unknown_warnings(unknown, len(tokens))


def encoded(texts: Sequence[Sequence[int]], code_shape: tuple[int, ...], device: torch.device) -> Encoded:
    """Return the codes of texts given as classes: cut to the code's length, and filled with ``END``."""
    count = code_shape[1]
    rows = [[*text[:count], *[END] * (count - len(text))] for text in texts]
    return Encoded(torch.tensor(rows, dtype=torch.int64).reshape(-1, 1, count).to(device))


def decoded(z: Code, text_of_classes: Callable[[Sequence[int]], str], length: int) -> Int32[Tensor, "b l"]:
    """Return the characters of the texts that codes are, by the classes before the first ``END``."""
    texts = []
    for classes in classes_of(z).tolist():
        end = classes.index(END) if END in classes else len(classes)
        texts.append(characters_of(text_of_classes(classes[:end]), length))
    return torch.stack(texts).to(z.device) if texts else torch.zeros(0, length, dtype=torch.int32)


def unknown_warnings(unknown: Sequence[str], tokens: int) -> Iterator[str]:
    """Yield a warning if these are more than ``MOST_UNKNOWN`` of given tokens."""
    if len(unknown) > MOST_UNKNOWN * tokens:
        shown = ", ".join(word for word, _ in Counter(unknown).most_common(5))
        yield (
            f"{len(unknown)} of {tokens} words are not in the vocabulary of the training rows, and are read "
            f"as unknown: {shown}"
        )


def _read_words(codec: nn.Module, keys: object) -> None:
    assert isinstance(codec, WordCodec)
    codec.read_words()


class WordsSpec(AbstractCodecSpec):
    """Words of a vocabulary, which is fitted to the training rows."""

    support: ClassVar[str] = "one_hot"
    indexed: ClassVar[bool] = True

    type: Literal["words"] = "words"
    tokens: PositiveInt = Field(64, description="length of the code in tokens: words and punctuation marks")
    vocabulary: int = Field(
        1000, ge=3, description="most classes of a token: words, the end of the text, and all other words"
    )
    least_rows: PositiveInt = Field(
        3, description="number of training rows below which a word is not kept, so that names are not"
    )

    @classmethod
    def examples(cls) -> Sequence[tuple["WordsSpec", Tensor]]:
        texts = ["no effusion.", "small effusion, left", "no mass", "no mass, no effusion."]
        return [(cls(tokens=8, vocabulary=9), torch.stack([characters_of(text, 8 * CHARACTERS) for text in texts]))]

    def build(self, data_shape: tuple[int, ...]) -> WordCodec:
        return WordCodec(self, data_shape[0])
