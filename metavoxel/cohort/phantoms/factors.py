"""Generating factors of a phantom brain, and their known distribution given age, sex and diagnosis.

``age ~ Uniform(20, 90)`` years; ``sex ~ Bernoulli(1/2)``; ``patient ~ Bernoulli(prevalence(age))`` when there is a
disease; and ``factors | age, sex, patient ~ Normal(mean(age, sex, patient), covariance)``, with one covariance for all.
The image is a function of the factors and of nuisance variables independent of age, sex and diagnosis.
"""

from typing import Literal, NamedTuple, TypeAlias, final

import numpy as np
from jaxtyping import Float64

YOUNGEST, OLDEST = 20.0, 90.0
"""Bounds of the uniform distribution of age, in years."""

SEXES = ("F", "M")
DIAGNOSES = ("control", "patient")
Site: TypeAlias = Literal["A", "B"]

AGE_SD = (OLDEST - YOUNGEST) / 12**0.5
"""Standard deviation of age in the population, in years."""


class Factor(NamedTuple):
    """Mean ``level + age * z + age_squared * (z^2 - 1) + male * (+-1) + patient * (0 or 1)``; z: standardised age."""

    name: str
    description: str
    level: float
    age: float
    age_squared: float
    male: float
    patient: float
    sd: float


FACTORS = (
    Factor("ventricle", "outward shift of the walls of the lateral ventricles, mm", 2.2, 2.0, 0.3, 0.25, 0.0, 1.1),
    Factor("sulcus", "log odds added to cerebrospinal fluid in the sulci", 0.2, 0.75, 0.0, 0.0, 0.0, 0.37),
    Factor("grey", "intensity of grey matter as a share of white matter's (T1w)", 0.68, 0.035, 0.0, 0.0, 0.0, 0.0195),
    Factor("length", "log scale of the head, back to front", 0.0, 0.0, 0.0, 0.030, 0.0, 0.028),
    Factor("breadth", "log scale of the head, left to right", 0.0, 0.0, 0.0, 0.030, 0.0, 0.028),
    Factor("height", "log scale of the head, bottom to top", 0.0, 0.0, 0.0, 0.030, 0.0, 0.028),
)

FOCUS = Factor(
    "focus", "log odds added to cerebrospinal fluid in the medial temporal lobes", 0.0, 0.0, 0.0, 0.0, 2.6, 1.0
)
"""The factor shifted by the disease."""

_CORRELATIONS = (
    ("ventricle", "sulcus", 0.3),
    ("length", "breadth", 0.5),
    ("length", "height", 0.5),
    ("breadth", "height", 0.5),
)


def prevalence(age: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Probability of the disease at this age in years: logistic with midpoint 80 and scale 10 years."""
    return np.asarray(1 / (1 + np.exp(-(age - 80) / 10)))


@final
class FactorModel:
    """Normal distribution of the factors given age, sex and diagnosis."""

    def __init__(self, *, disease: bool = False) -> None:
        self.disease = disease
        self.factors = (*FACTORS, FOCUS) if disease else FACTORS
        self.names = tuple(factor.name for factor in self.factors)
        self._coefficients = np.array([[f.level, f.age, f.age_squared, f.male, f.patient] for f in self.factors])
        sd = np.array([factor.sd for factor in self.factors])
        correlation = np.eye(len(sd))
        for first, second, value in _CORRELATIONS:
            i, j = self.names.index(first), self.names.index(second)
            correlation[i, j] = correlation[j, i] = value
        self.covariance: Float64[np.ndarray, "factors factors"] = correlation * np.outer(sd, sd)
        self.cholesky: Float64[np.ndarray, "factors factors"] = np.linalg.cholesky(self.covariance)

    def mean(
        self,
        age: Float64[np.ndarray, "*n"],
        male: Float64[np.ndarray, "*n"],
        patient: Float64[np.ndarray, "*n"],
    ) -> Float64[np.ndarray, "*n factors"]:
        """Mean of the factors; ``age`` in years, ``male`` and ``patient`` 0 or 1."""
        z = (age - (YOUNGEST + OLDEST) / 2) / AGE_SD
        terms = np.broadcast_arrays(np.ones_like(z), z, z**2 - 1, 2 * male - 1, patient)
        return np.stack(terms, axis=-1) @ self._coefficients.T

    def prior(
        self,
        age: Float64[np.ndarray, "*n"],
        male: Float64[np.ndarray, "*n"],
        patient: Float64[np.ndarray, "*n"],
    ) -> Float64[np.ndarray, "*n"]:
        """Joint density (per year of age) of age, sex and diagnosis in the population."""
        p_patient = prevalence(age) if self.disease else np.zeros_like(age)
        return np.where(patient > 0, p_patient, 1 - p_patient) * 0.5 / (OLDEST - YOUNGEST)

    def draw(
        self, age: float, male: bool, patient: bool, generator: np.random.Generator
    ) -> Float64[np.ndarray, " factors"]:
        """Draw the factors of one subject. A disease does not change the draws of the other factors."""
        noise = generator.standard_normal(len(self.factors))
        return self.mean(np.array(age), np.array(float(male)), np.array(float(patient))) + self.cholesky @ noise
