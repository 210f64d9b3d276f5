"""Texts as sequences of pieces of words: byte-pair encoding, fitted to the training rows.

Byte-pair encoding (Sennrich et al. 2016) starts from characters and merges the most frequent pair of neighbours until
the vocabulary is full. It is fitted, and applied, by the library ``tokenizers``. A word of fewer training texts than
``least_rows`` is no word that the code can write: it is read as unknown, in training and afterwards, since its pieces
would otherwise teach the model a name. So the vocabulary is smaller than that of whole words, and covers as many.
"""

import importlib.util
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Int32
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from metavoxel.errors import CohortError, Problem
from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.typing import Code, Mask
from metavoxel_text.codec import CHARACTERS, OTHER, decoded, encoded, unknown_warnings
from metavoxel_text.words import JOINED, MASK, REST, UNKNOWN, bare, characters_of, text_from, tokens_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "\u2581"
"""First character of a word that follows a space, as in SentencePiece (Kudo and Richardson 2018)."""
FIRST = OTHER + 1
"""Class of the first piece."""


class PieceCodec(AbstractCodec):
    """Characters (b, l) of texts to the classes (b, 1, tokens) of their pieces. Final.

    The last piece of a text is followed by ``END`` up to the end of the code. Pieces, merges and known words are stored
    with the weights, as JSON.
    """

    support = "one_hot"
    indexed = True
    tolerance = math.inf

    def __init__(self, spec: "PiecesSpec", length: int) -> None:
        super().__init__()
        self.code_shape = (spec.vocabulary, spec.tokens)
        self._least, self._length, self._cut = spec.least_rows, length, spec.cut
        self.register_buffer("fitted", torch.zeros(0, dtype=torch.uint8))
        self.fitted: Tensor
        self._words: frozenset[str] = frozenset()
        self._tokenizer: Tokenizer | None = None
        self._pieces: dict[int, str] = {}
        self.register_load_state_dict_pre_hook(_resize)
        self.register_load_state_dict_post_hook(_read)

    @property
    def pieces(self) -> list[str]:
        """Pieces of the vocabulary, in the order of their classes."""
        return [self._pieces[index] for index in sorted(self._pieces)]

    def fit(self, batches: Callable[[], Iterable[Int32[Tensor, "b l"]]]) -> None:
        """Fit the merges to the words of at least ``least_rows`` texts.

        Raises:
            CohortError: texts of the training rows have more pieces than the code, and are not to be cut.
        """
        from tokenizers import Tokenizer, models, trainers

        texts: Counter[str] = Counter()
        uses: Counter[str] = Counter()
        for batch in batches():
            for row in batch:
                words = [word for token in tokens_of(text_from(row)) if (word := _word_of(token)) is not None]
                texts.update(set(words))
                uses.update(words)
        kept = sorted(word for word, rows in texts.items() if rows >= self._least)
        model = Tokenizer(models.BPE())
        room = self.code_shape[0] - FIRST
        trainer = trainers.BpeTrainer(
            vocab_size=room, limit_alphabet=room, show_progress=False, min_frequency=self._least
        )
        model.train_from_iterator((word for word in kept for _ in range(uses[word])), trainer)
        content = json.loads(model.to_str())["model"]
        stored = {"pieces": content["vocab"], "merges": content["merges"], "words": kept}
        text = json.dumps(stored, ensure_ascii=False).encode()
        self.fitted = torch.tensor(list(text), dtype=torch.uint8, device=self.fitted.device)
        self.read_fitted()
        self._check_lengths(batches)

    def _check_lengths(self, batches: Callable[[], Iterable[Int32[Tensor, "b l"]]]) -> None:
        lengths = [len(self._classes(text_from(row))) for batch in batches() for row in batch]
        longer = [length for length in lengths if length > self.code_shape[1]]
        if longer and not self._cut:
            what = (
                f"{len(longer)} of {len(lengths)} texts of the training rows have more pieces than 'tokens' "
                f"({self.code_shape[1]}), at most {max(longer)}: raise it, or set 'cut: true'"
            )
            raise CohortError(Problem("codec pieces", what))

    def read_fitted(self) -> None:
        """Read pieces, merges and words from their buffer."""
        from tokenizers import Tokenizer, models

        if not len(self.fitted):
            return
        stored = json.loads(bytes(self.fitted.cpu().tolist()))
        merges = [tuple(pair) for pair in stored["merges"]]
        self._tokenizer = Tokenizer(models.BPE(vocab=stored["pieces"], merges=merges))
        self._words = frozenset(stored["words"])
        self._pieces = {FIRST + index: piece for piece, index in stored["pieces"].items()}

    def _classes(self, text: str) -> list[int]:
        """Return the classes of a text's pieces, of any number."""
        return [one for token in tokens_of(text) for one in self._token(token)]

    def _token(self, token: str) -> list[int]:
        """Return the classes of the pieces of a word or mark."""
        word = _word_of(token)
        if word not in self._words or word is None or self._tokenizer is None:
            return [OTHER]
        found = self._tokenizer.encode(word)
        whole = "".join(found.tokens) == word  # not where the vocabulary lacks a character
        return [FIRST + index for index in found.ids] if whole else [OTHER]

    def encode(self, x: Int32[Tensor, "b l"]) -> Encoded:
        if x.is_meta:  # a schema is checked with tensors that have no content
            return Encoded(self.blank(len(x), x.device))
        return encoded([self._classes(text_from(row)) for row in x], self.code_shape, x.device)

    def decode(self, z: Code) -> Int32[Tensor, "b l"]:
        def text(classes: Sequence[int]) -> str:
            pieces = [self._pieces.get(index, SPACE + UNKNOWN) for index in classes]
            return " ".join("".join(pieces).replace(SPACE, " ").split())

        return decoded(z, text, self._length)

    def known_cells(self, x: Int32[Tensor, "b l"]) -> Mask:
        """Return all cells but those of ``[MASK]``, one piece each, and those from ``[...]`` on."""
        count = self.code_shape[1]
        known = torch.ones(len(x), 1, count, dtype=torch.bool, device=x.device)
        for row, characters in enumerate(x):
            place = 0
            for token in tokens_of(text_from(characters)):
                if bare(token) in (MASK, REST):
                    known[row, 0, place : None if bare(token) == REST else place + 1] = False
                place += len(self._token(token))
        return known

    def evidence_warnings(self, x: Int32[Tensor, "b l"]) -> Iterator[str]:
        texts = [text_from(row) for row in x]
        tokens = [token for text in texts for token in tokens_of(text) if bare(token) not in (MASK, REST)]
        unknown = [bare(token) for token in tokens if _word_of(token) not in self._words]
        yield from unknown_warnings(unknown, len(tokens))
        longer = sum(len(self._classes(text)) > self.code_shape[1] for text in texts)
        if longer:
            yield f"{longer} of {len(texts)} texts have more pieces than 'tokens' ({self.code_shape[1]}), and are cut"


def _word_of(token: str) -> str | None:
    """Return a token with ``SPACE`` before it if a space is; None for marks of the code's own, and for that mark."""
    if bare(token) in (MASK, REST, UNKNOWN) or SPACE in token:
        return None
    return bare(token) if token.startswith(JOINED) else SPACE + token


def _resize(codec: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    """Give the buffer the size of a stored one."""
    assert isinstance(codec, PieceCodec)
    stored = state.get(f"{prefix}fitted")
    if stored is not None:
        codec.fitted = torch.zeros(len(stored), dtype=torch.uint8, device=codec.fitted.device)


def _read(codec: nn.Module, keys: object) -> None:
    assert isinstance(codec, PieceCodec)
    codec.read_fitted()


class PiecesSpec(AbstractCodecSpec):
    """Pieces of words by byte-pair encoding, fitted to the training rows (needs the package tokenizers)."""

    support: ClassVar[str] = "one_hot"
    indexed: ClassVar[bool] = True

    type: Literal["bpe"] = "bpe"
    tokens: PositiveInt = Field(96, description="length of the code in pieces of words")
    vocabulary: int = Field(
        1000, ge=3, description="most classes of a token: pieces, the end of the text, and all unknown words"
    )
    least_rows: PositiveInt = Field(
        3, description="number of training rows below which a word is read as unknown, so that names are not kept"
    )
    cut: bool = Field(False, description="whether texts of more pieces are cut, instead of refused")

    @classmethod
    def examples(cls) -> Sequence[tuple["PiecesSpec", Tensor]]:
        texts = ["no effusion.", "small effusion, left", "no mass", "no mass, no effusion."]
        data = torch.stack([characters_of(text, 8 * CHARACTERS) for text in texts])
        return [(cls(tokens=24, vocabulary=20, least_rows=1), data)]

    def problems(self) -> list[str]:
        if importlib.util.find_spec("tokenizers") is None:
            return ["codec 'bpe' needs the package tokenizers: pip install 'metavoxel-text[bpe]', or use codec 'words'"]
        return []

    def build(self, data_shape: tuple[int, ...]) -> PieceCodec:
        return PieceCodec(self, data_shape[0])
