"""Tokens, vocabulary, gaps and the choice among draws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metavoxel_text import TextSpec, WordsSpec
from metavoxel_text.words import agreement, characters_of, text_from, text_of, tokens_of

from metavoxel.parts.variables.base import Missing

ALPHABET = "ab .,;()[]\"'3-é"
SPEC = TextSpec(tokens=8, vocabulary=12, least_rows=2)


def values(*texts):
    return torch.stack([characters_of(text, 128) for text in texts])


def fitted(*texts, **settings):
    codec = WordsSpec(tokens=8, **{"vocabulary": 12, "least_rows": 2, **settings}).build((128,))
    codec.fit(lambda: [values(*texts)])
    return codec


@given(st.text(ALPHABET))
def test_tokens_are_the_text_up_to_white_space(text):
    assert text_of(tokens_of(text)) == " ".join(text.split())


def test_marks_are_tokens_outside_words():
    assert tokens_of("No mass (3.5 cm).") == ["No", "mass", "(", "\b3.5", "cm", "\b)", "\b."]
    assert tokens_of("[MASK], x [...]") == ["[MASK]", "\b,", "x", "[...]"]


def test_the_vocabulary_has_frequent_words_alone():
    codec = fitted("no mass.", "no mass seen", "no Smith")
    assert codec.vocabulary == ["no", "mass"]
    (text,) = (text_from(row) for row in codec.decode(codec.encode(values("no Smith mass")).mean))
    assert text == "no [UNK] mass"
    assert fitted("no mass.", "no mass seen", vocabulary=3).vocabulary == ["mass"]


def test_a_text_ends_at_the_first_end():
    codec = fitted("no mass", "no mass")
    code = codec.encode(values("no mass")).mean
    assert code.tolist() == [[[3, 2, 0, 0, 0, 0, 0, 0]]]
    assert text_from(codec.decode(code.roll(1, 2))[0]) == ""


def test_the_vocabulary_is_stored_with_the_weights():
    codec, other = fitted("no mass", "no mass"), fitted("a b", "a b")
    other.load_state_dict(codec.state_dict())
    assert other.vocabulary == codec.vocabulary == ["mass", "no"]


def test_gaps_are_unknown_cells():
    codec = fitted("no mass", "no mass")
    known = codec.known_cells(values("no mass", "[MASK] mass", "no [...]", "[MASK], [MASK]"))[:, 0]
    assert known.tolist() == [
        [True] * 8,
        [False] + [True] * 7,
        [True] + [False] * 7,
        [False, True, False] + [True] * 5,
    ]


def test_blank_cells_are_missing():
    assert SPEC.parse(" \t ") == Missing("blank")


def test_a_rest_is_last():
    with pytest.raises(ValueError, match="give it last"):
        SPEC.parse_given("no [...] mass")


def test_longer_texts_are_cut_if_wanted():
    assert SPEC.format(TextSpec(tokens=2, cut=True).parse("no mass. seen")) == "no mass"


def test_the_text_of_several_draws_agrees_most_with_the_others():
    draws = values("no mass.", "no mass seen.", "a small mass seen.")
    assert text_from(SPEC.center(draws, "mean")) == "no mass seen."
    both = SPEC.center(torch.stack([draws, draws.flip(0)], 1), "mean")
    assert [text_from(row) for row in both] == ["no mass seen."] * 2
    assert agreement("", "") == 1 and agreement("a b", "b c") == 0.5


def test_one_number_of_tokens():
    parts = SPEC.parts()._replace(codec=WordsSpec(tokens=9))
    assert SPEC.problems(parts) == ["the codec has 9 tokens, and the variable 8; set one number"]
