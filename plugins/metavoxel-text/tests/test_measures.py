"""BLEU and ROUGE-L against the libraries that the literature uses, and against hand-computed values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metavoxel_text import TextSpec
from metavoxel_text.measures import Bleu, RougeL

WORDS = ["no", "mass", "lesion", "left", ".", "small"]
texts = st.lists(st.sampled_from(WORDS), min_size=4, max_size=12).map(" ".join)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=6)


def measured(measure, predicted, true):
    return measure.value(measure.statistics(predicted, true).sum(0))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@settings(deadline=None)  # the libraries are slow to import
@given(found=pairs)
def test_bleu_is_that_of_sacrebleu(length, found):
    bleu = pytest.importorskip("sacrebleu").metrics.BLEU(
        max_ngram_order=length, tokenize="none", force=True, effective_order=False, smooth_method="exp"
    )
    predicted, true = map(list, zip(*found, strict=True))
    expected = bleu.corpus_score(predicted, [true]).score / 100
    assert math.isclose(measured(Bleu(length), predicted, true), expected, abs_tol=1e-9)


@settings(deadline=None)  # the libraries are slow to import
@given(found=pairs)
def test_rouge_is_that_of_rouge_score(found):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    predicted, true = map(list, zip(*found, strict=True))
    expected = np.mean([scorer.score(t, p)["rougeL"].fmeasure for p, t in found])
    assert math.isclose(measured(RougeL(), predicted, true), expected, abs_tol=1e-9)


def test_marks_and_case_do_not_hide_a_word():
    assert measured(Bleu(2), ["No mass."], ["no mass."]) == 1
    assert math.isclose(measured(Bleu(1), ["No mass."], ["No lesion."]), 2 / 3)
    assert measured(RougeL(), ["No mass"], ["no mass."]) == 1
    assert math.isclose(measured(RougeL(), ["no left mass"], ["no mass"]), 4 / 5)


def test_a_shorter_text_has_the_brevity_penalty():
    assert math.isclose(measured(Bleu(1), ["no"], ["no mass seen"]), math.exp(1 - 3))


@pytest.mark.parametrize("measure", TextSpec().measures(), ids=lambda measure: measure.name)
def test_texts_without_words_have_a_value(measure):
    assert measured(measure, [""], [""]) == measured(measure, [""], ["no"]) == measured(measure, ["no"], [""]) == 0
    assert measured(measure, [], []) == 0


def test_all_measures_are_in_order():
    assert [one.name for one in TextSpec().measures()] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"]
