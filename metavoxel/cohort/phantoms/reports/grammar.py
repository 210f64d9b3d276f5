"""Reports of a grammar with known probabilities, and the facts of a report.

A report has three sentences: the history, and the two findings, of lesion and ventricles, in either order. Each
sentence is drawn given its fact alone, from a list in which no sentence has two meanings. So the probability of a
report given its facts is a product of three numbers and that of the order, and a report has one reading or none.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar, final

import numpy as np

from metavoxel.cohort.phantoms.reports.heads import LOBES, SIDES, SIGNALS, SIZES, Facts, Grade, History, Lesion

LESION_FIRST = 0.7
"""Probability that the sentence on the lesion comes before that on the ventricles."""

_Fact = TypeVar("_Fact")

_SIZES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"small": {"small": 0.6, "tiny": 0.4}, "large": {"large": 0.7, "extensive": 0.3}}
)
_SIGNALS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"bright": {"hyperintense": 0.7, "bright": 0.3}, "dark": {"hypointense": 0.7, "dark": 0.3}}
)
_LESIONS: Mapping[str, float] = MappingProxyType(
    {
        "There is a {size} {signal} lesion in the {side} {lobe} lobe.": 0.5,
        "A {size} {signal} lesion is seen in the {side} {lobe} lobe.": 0.3,
        "{Side} {lobe} lesion, {size} and {signal}.": 0.2,
    }
)
_NO_LESION: Mapping[str, float] = MappingProxyType(
    {"No focal lesion.": 0.5, "There is no lesion.": 0.3, "The parenchyma is unremarkable.": 0.2}
)
_VENTRICLES: Mapping[Grade, Mapping[str, float]] = MappingProxyType(
    {
        "normal": {"Normal ventricles.": 0.6, "The ventricles are of normal size.": 0.4},
        "mild": {"Mildly enlarged ventricles.": 0.6, "The ventricles are slightly wide.": 0.4},
        "marked": {"Markedly enlarged ventricles.": 0.6, "The ventricles are very wide.": 0.4},
    }
)
_HISTORIES: Mapping[History, Mapping[str, float]] = MappingProxyType(
    {
        "headache": {"Headache.": 1.0},
        "dizziness": {"Dizziness.": 1.0},
        "fall": {"After a fall.": 0.8, "Fall.": 0.2},
        "memory": {"Memory loss.": 0.7, "Forgetful.": 0.3},
    }
)


@final
@dataclass(frozen=True)
class Sentence(Generic[_Fact]):
    """The fact of a sentence, and the probability of the sentence given the fact."""

    fact: _Fact
    probability: float


class Report(NamedTuple):
    """The reading of a report: its facts, and the history."""

    facts: Facts
    history: History


@cache
def lesion_sentences() -> Mapping[str, Sentence[Lesion | None]]:
    """Return all sentences on the lesion."""
    found: dict[str, Sentence[Lesion | None]] = {text: Sentence(None, p) for text, p in _NO_LESION.items()}
    for fact in itertools.starmap(Lesion, itertools.product(SIDES, LOBES, SIZES, SIGNALS)):
        for text, p in _described(fact):
            found[text] = Sentence(fact, p)
    return MappingProxyType(found)


def _described(lesion: Lesion) -> Iterator[tuple[str, float]]:
    sizes, signals = _SIZES[lesion.size], _SIGNALS[lesion.signal]
    for (form, p), (size, q), (signal, r) in itertools.product(_LESIONS.items(), sizes.items(), signals.items()):
        side = lesion.side
        yield form.format(size=size, signal=signal, side=side, Side=side.capitalize(), lobe=lesion.lobe), p * q * r


@cache
def ventricle_sentences() -> Mapping[str, Sentence[Grade]]:
    """Return all sentences on the ventricles."""
    return MappingProxyType(
        {text: Sentence(fact, p) for fact, texts in _VENTRICLES.items() for text, p in texts.items()}
    )


@cache
def history_sentences() -> Mapping[str, Sentence[History]]:
    """Return all sentences on the history."""
    return MappingProxyType(
        {text: Sentence(fact, p) for fact, texts in _HISTORIES.items() for text, p in texts.items()}
    )


def draw_report(facts: Facts, history: History, random: np.random.Generator) -> str:
    """Draw a report of these facts."""
    first = _drawn(history_sentences(), history, random)
    lesion = _drawn(lesion_sentences(), facts.lesion, random)
    ventricles = _drawn(ventricle_sentences(), facts.ventricles, random)
    findings = (lesion, ventricles) if random.random() < LESION_FIRST else (ventricles, lesion)
    return " ".join((first, *findings))


def _drawn(sentences: Mapping[str, Sentence[_Fact]], fact: _Fact, random: np.random.Generator) -> str:
    fitting = [(text, one.probability) for text, one in sentences.items() if one.fact == fact]
    return fitting[int(random.choice(len(fitting), p=[p for _, p in fitting]))][0]


def parse_report(text: str) -> Report | None:
    """Return the reading of a report, or None if it is not of the grammar."""
    found = _split(text)
    if found is None:
        return None
    history, lesion, ventricles, _ = found
    return Report(Facts(lesion.fact, ventricles.fact), history.fact)


def report_logp(text: str) -> float:
    """Return log p(text | its facts and history) in nats, and minus infinity if it is not of the grammar."""
    found = _split(text)
    if found is None:
        return -math.inf
    history, lesion, ventricles, order = found
    return math.log(history.probability * lesion.probability * ventricles.probability * order)


def _split(text: str) -> tuple[Sentence[History], Sentence[Lesion | None], Sentence[Grade], float] | None:
    """Return the three sentences, and the probability of their order."""
    parts = re.findall(r"[^.]+\.", text)
    if "".join(parts) != text or len(parts) != 3:
        return None
    first, second, third = (part.removeprefix(" ") for part in parts)
    if text != f"{first} {second} {third}":
        return None
    swapped = second not in lesion_sentences()
    on_lesion, on_ventricles = (third, second) if swapped else (second, third)
    history = history_sentences().get(first)
    lesion, ventricles = lesion_sentences().get(on_lesion), ventricle_sentences().get(on_ventricles)
    if history is None or lesion is None or ventricles is None:
        return None
    return history, lesion, ventricles, 1 - LESION_FIRST if swapped else LESION_FIRST
