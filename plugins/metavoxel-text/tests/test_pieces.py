"""Byte-pair encoding: pieces, words that are not kept, lengths, gaps and storage."""

import importlib.util
import warnings

import metavoxel_absorbing
import metavoxel_text
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metavoxel as mv
from metavoxel.errors import CohortError, SchemaError

pytest.importorskip("tokenizers")

from metavoxel_text import PiecesSpec
from metavoxel_text.pieces import OTHER
from metavoxel_text.words import characters_of, text_from, text_of, tokens_of

LENGTH = 256


def values(*texts):
    return torch.stack([characters_of(text, LENGTH) for text in texts])


def fitted(*texts, **settings):
    codec = PiecesSpec(**{"tokens": 40, "vocabulary": 40, "least_rows": 2, **settings}).build((LENGTH,))
    codec.fit(lambda: [values(*texts)])
    return codec


def read_back(codec, *texts):
    return [text_from(row) for row in codec.decode(codec.encode(values(*texts)).mean)]


WORDS = ["lesion", "lesions", "small", "smaller", "(3.5", "cm)", "left,", "left."]


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join))
def test_known_words_are_read_back(text):
    codec = fitted(*[" ".join(WORDS)] * 2, tokens=128)
    assert read_back(codec, text) == [text_of(tokens_of(text))]


def test_frequent_pieces_are_merged_and_shared():
    codec = fitted("lesion lesions lesion", "lesions lesion lesion", "small lesion", "small lesions")
    assert "\u2581lesion" in codec.pieces
    assert int((codec.encode(values("lesion lesion")).mean > OTHER).sum()) == 2


def test_rare_words_are_unknown_in_training_too():
    codec = fitted("no lesion Smith", "no lesion", "no lesion Jones")
    assert read_back(codec, "no lesion Smith", "Jones") == ["no lesion [UNK]", "[UNK]"]
    assert b"Smith" not in bytes(codec.fitted.tolist()) and b"Jones" not in bytes(codec.fitted.tolist())


def test_a_vocabulary_without_room_for_a_character():
    codec = fitted("abcdefgh aa", "abcdefgh aa", vocabulary=6)
    assert set(read_back(codec, "aa abcdefgh")[0].split()) <= {"aa", "[UNK]"}


def test_the_fit_is_stored_with_the_weights():
    codec = fitted("no lesion", "no lesion")
    other = PiecesSpec(tokens=40, vocabulary=40, least_rows=2).build((LENGTH,))
    other.load_state_dict(codec.state_dict())
    assert other.pieces == codec.pieces and read_back(other, "no lesion") == ["no lesion"]


def test_longer_texts_are_refused_or_cut():
    texts = ["lesion in the left lobe"] * 2
    with pytest.raises(CohortError, match=r"2 of 2 texts .* more pieces than 'tokens' \(3\), at most .*'cut: true'"):
        fitted(*texts, tokens=3)
    codec = fitted(*texts, tokens=3, cut=True)
    assert codec.encode(values(texts[0])).mean.shape == (1, 1, 3)
    assert any("are cut" in warning for warning in codec.evidence_warnings(values(texts[0])))


def test_gaps_are_one_piece():
    codec = fitted("no mass seen", "no mass seen")
    size = int((codec.encode(values("no")).mean > 0).sum())
    known = codec.known_cells(values("no [MASK] seen", "no [...]"))[:, 0]
    assert known[0, :size].all() and not known[0, size] and known[0, size + 1 :].all()
    assert known[1, :size].all() and not known[1, size:].any()


def test_an_unfitted_or_unknown_code_is_a_text():
    codec = PiecesSpec(tokens=4, vocabulary=8).build((LENGTH,))
    code = torch.zeros(1, 8, 4)
    code[:, 5] = 1
    assert text_from(codec.decode(code)[0]) == "[UNK] [UNK] [UNK] [UNK]"


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tokenizers" else find(name, *rest)
    )
    (problem,) = PiecesSpec().problems()
    assert "pip install 'metavoxel-text[bpe]'" in problem


def cohort(rows):
    reports = ["no lesion", "small lesion", "large lesions", "no lesions"]
    names = [f"s{row}" for row in range(rows)]
    ages = [20 + row % 60 for row in range(rows)]
    return pandas.DataFrame({"participant_id": names, "report": (reports * rows)[:rows], "age": ages})


def schema(**codec):
    report = {"type": "text", "tokens": 8, "codec": {"type": "bpe", **codec}}
    return {
        "variables": {"report": report, "age": {"type": "continuous", "range": [0, 100]}},
        "backbone": {"type": "transformer", "width": 16, "depth": 1},
        "training": {"steps": 4, "batch_size": 8, "validate_every": 2},
    }


def train(folder, **codec):
    registry = mv.load_registry(plugins=[metavoxel_absorbing, metavoxel_text])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mv.train(schema(**codec), folder, table=cohort(40), registry=registry), registry


@pytest.mark.slow
def test_a_model_of_pieces_trains_draws_and_loads(tmp_path):
    model, registry = train(tmp_path / "run", tokens=24, vocabulary=30)
    again = mv.load(tmp_path / "run", registry=registry)
    drawn = [one.sample(3, {"age": 40}).frame["report"].tolist() for one in (model, again)]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 3


@pytest.mark.slow
def test_too_few_pieces_are_a_message(tmp_path):
    with pytest.raises(CohortError, match="more pieces than 'tokens'"):
        train(tmp_path / "run", tokens=1)


def test_unknown_settings_are_a_message(tmp_path):
    with pytest.raises(SchemaError, match="pieces"):
        train(tmp_path / "run", pieces=1)
