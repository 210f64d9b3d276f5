"""Draw the subjects of a phantom cohort: a subject is a function of (seed, its number), not of the cohort size."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from metavoxel.cohort.phantoms.factors import OLDEST, YOUNGEST, FactorModel, Site, prevalence
from metavoxel.cohort.phantoms.settings import MissingSettings, PhantomSettings
from metavoxel.rng import stream_key


class Subject(NamedTuple):
    """One subject with all its true values."""

    number: int
    age: float
    """Years, to two decimals, as in the table."""
    male: bool
    patient: bool
    site: Site
    factors: Float64[np.ndarray, " factors"]
    missing: frozenset[str]
    """Columns, and images by suffix, that are missing in the cohort."""

    @property
    def name(self) -> str:
        """BIDS name, counted from 1."""
        return f"sub-{self.number:04d}"


class Progress(NamedTuple):
    """Progress after one subject has been written."""

    subject: str
    number: int
    total: int


def generator(seed: int, number: int, purpose: str) -> np.random.Generator:
    """Random generator of one subject for one purpose."""
    return np.random.default_rng(stream_key("phantom", seed, number, purpose) % 2**64)


def draw_subject(settings: PhantomSettings, model: FactorModel, number: int) -> Subject:
    """Draw a subject. Optional settings (disease, site, missing cells) do not change the other draws."""
    demographics = generator(settings.seed, number, "who")
    age = round(float(demographics.uniform(YOUNGEST, OLDEST)), 2)
    male = bool(demographics.random() < 0.5)
    uniform = float(generator(settings.seed, number, "diagnosis").random())
    patient = settings.disease and uniform < float(prevalence(np.array(age)))
    site: Site = "B" if settings.site and generator(settings.seed, number, "site").random() < 0.5 else "A"
    factors = model.draw(age, male, patient, generator(settings.seed, number, "factors"))
    return Subject(number, age, male, patient, site, factors, _missing(settings, number, age))


def missing_probability(rule: MissingSettings, age: float) -> float:
    """Probability that a cell of the rule's columns is missing at this age in years."""
    if rule.rule == "mar_by_age":
        return rule.fraction * 2 * (age - YOUNGEST) / (OLDEST - YOUNGEST)
    return rule.fraction


def _missing(settings: PhantomSettings, number: int, age: float) -> frozenset[str]:
    rule = settings.missing
    if rule is None:
        return frozenset()
    probability = missing_probability(rule, age)
    return frozenset(
        column
        for column in rule.columns
        if generator(settings.seed, number, f"missing {column}").random() < probability
    )
