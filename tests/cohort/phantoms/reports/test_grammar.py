"""The grammar: its probabilities, and the one reading of every report."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.cohort.phantoms.reports import Facts, Lesion, Report, draw_report, parse_report, report_logp
from metavoxel.cohort.phantoms.reports.grammar import history_sentences, lesion_sentences, ventricle_sentences
from metavoxel.cohort.phantoms.reports.heads import GRADES, HISTORIES, LOBES, SIDES, SIGNALS, SIZES
from metavoxel.cohort.phantoms.reports.schema import TOKENS

LESIONS = [None, *itertools.starmap(Lesion, itertools.product(SIDES, LOBES, SIZES, SIGNALS))]
facts = st.builds(Facts, st.sampled_from(LESIONS), st.sampled_from(GRADES))


@given(facts, st.sampled_from(HISTORIES), st.integers(0, 2**32))
def test_a_report_has_the_facts_that_it_was_drawn_from(facts, history, seed):
    text = draw_report(facts, history, np.random.default_rng(seed))
    assert parse_report(text) == Report(facts, history)
    assert -math.inf < report_logp(text) < 0


@pytest.mark.parametrize("sentences", [lesion_sentences, ventricle_sentences, history_sentences])
def test_the_sentences_of_a_fact_have_probability_one(sentences):
    totals = Counter()
    for one in sentences().values():
        totals[one.fact] += one.probability
    assert all(math.isclose(total, 1) for total in totals.values())


def test_reports_are_as_frequent_as_their_probability():
    known, random, draws = Facts(None, "mild"), np.random.default_rng(0), 4000
    counts = Counter(draw_report(known, "fall", random) for _ in range(draws))
    texts = {
        " ".join(parts)
        for first, one, other in itertools.product(history_sentences(), lesion_sentences(), ventricle_sentences())
        for parts in ((first, one, other), (first, other, one))
        if parse_report(" ".join(parts)) == Report(known, "fall")
    }
    assert set(counts) <= texts
    assert math.isclose(sum(math.exp(report_logp(text)) for text in texts), 1)
    for text in texts:
        p = math.exp(report_logp(text))
        assert abs(counts[text] - draws * p) < 5 * math.sqrt(draws * p * (1 - p))


@pytest.mark.parametrize("text", [
    "", "No focal lesion.", "Headache. No focal lesion.", "Headache. No focal lesion. No focal lesion.",
    "Headache. No lesion. Normal ventricles.", "headache. No focal lesion. Normal ventricles.",
    "Headache. No focal lesion. Normal ventricles. Fall.", "Headache. No focal lesion.  Normal ventricles.",
    "No focal lesion. Headache. Normal ventricles.", "Headache. No focal lesion. Normal ventricles",
    "Headache. There is a small bright lesion in the left lobe. Normal ventricles.",
])  # fmt: skip
def test_other_texts_have_no_reading(text):
    assert parse_report(text) is None and report_logp(text) == -math.inf


def test_the_longest_report_fits_the_schema():
    def longest(sentences):
        return max(len(text.replace(".", " .").replace(",", " ,").split()) for text in sentences())

    assert longest(history_sentences) + longest(lesion_sentences) + longest(ventricle_sentences) < TOKENS
