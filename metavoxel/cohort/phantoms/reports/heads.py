"""Generating factors of a simulated head with a report, and their distribution given age and sex.

With u = (age - 20) / 70, age ~ Uniform(20, 90) and sex ~ Bernoulli(1/2),

    lesion ~ Bernoulli(.5 + .3 u), its side, lobe, size and signal uniform,
    ventricle ~ Normal(.11 + .16 u, .03^2),    head ~ Normal(1 + .03 (2 male - 1), .02^2),                      (1)
    history ~ Categorical(softmax(a + b u)).

The picture depends on lesion, ventricle and head, and the report on lesion, the grade of the ventricles and the
history, which no picture shows.
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy.special import softmax

from metavoxel.cohort.phantoms.factors import OLDEST, SEXES, YOUNGEST
from metavoxel.cohort.phantoms.subjects import generator

Side: TypeAlias = Literal["left", "right"]
Lobe: TypeAlias = Literal["frontal", "occipital"]
Size: TypeAlias = Literal["small", "large"]
Signal: TypeAlias = Literal["bright", "dark"]
Grade: TypeAlias = Literal["normal", "mild", "marked"]
History: TypeAlias = Literal["headache", "dizziness", "fall", "memory"]

SIDES: tuple[Side, ...] = ("left", "right")
LOBES: tuple[Lobe, ...] = ("frontal", "occipital")
SIZES: tuple[Size, ...] = ("small", "large")
SIGNALS: tuple[Signal, ...] = ("bright", "dark")
GRADES: tuple[Grade, ...] = ("normal", "mild", "marked")
HISTORIES: tuple[History, ...] = ("headache", "dizziness", "fall", "memory")

GRADE_LIMITS = (0.16, 0.22)
"""Half-widths of a ventricle from which on it is mildly, and markedly, enlarged; the half-width of a head is .75."""
VENTRICLE_SD, HEAD_SD = 0.03, 0.02
"""Standard deviations of ventricle and head in eq. (1)."""
HEAD_SHIFT = 0.03
"""Difference of the mean head of a sex from 1."""

_HISTORY_AT_20 = (1.5, 0.5, 0.0, -1.5)
_HISTORY_SLOPE = (-2.0, 0.0, 0.8, 3.0)


class Lesion(NamedTuple):
    """A lesion, as a report describes it. Left is the left of the picture."""

    side: Side
    lobe: Lobe
    size: Size
    signal: Signal


class Facts(NamedTuple):
    """What picture and report have in common: a lesion or none, and the grade of the ventricles."""

    lesion: Lesion | None
    ventricles: Grade


class Head(NamedTuple):
    """One subject with all generating factors; lengths are shares of half the picture."""

    number: int
    age: float
    """Years, to two decimals, as in the table."""
    male: bool
    lesion: Lesion | None
    ventricle: float
    """Half-width of a lateral ventricle."""
    head: float
    """Scale of the head, 1 on average."""
    history: History

    @property
    def name(self) -> str:
        """Identifier, counted from 1."""
        return f"sub-{self.number:05d}"

    @property
    def sex(self) -> str:
        """Label of the sex in the table."""
        return SEXES[self.male]

    @property
    def facts(self) -> Facts:
        """Facts of picture and report."""
        return Facts(self.lesion, grade(self.ventricle))


def grade(ventricle: float) -> Grade:
    """Return the grade of a ventricle's half-width."""
    return GRADES[int(np.searchsorted(GRADE_LIMITS, ventricle, side="right"))]


def scaled_age(age: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return u of eq. (1) for ages in years."""
    return (age - YOUNGEST) / (OLDEST - YOUNGEST)


def lesion_probability(age: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return the probability of a lesion at these ages."""
    return 0.5 + 0.3 * scaled_age(age)


def ventricle_mean(age: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return the mean half-width of a ventricle at these ages."""
    return 0.11 + 0.16 * scaled_age(age)


def history_probabilities(age: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4"]:
    """Return the probability of every history at these ages."""
    logits = np.array(_HISTORY_AT_20) + np.array(_HISTORY_SLOPE) * scaled_age(age)[..., None]
    return softmax(logits, axis=-1)


def draw_head(seed: int, number: int) -> Head:
    """Draw a subject, a function of (seed, its number)."""
    random = generator(seed, number, "head with a report")
    age = round(float(random.uniform(YOUNGEST, OLDEST)), 2)
    at = np.array([age])
    male = bool(random.random() < 0.5)
    choices = random.integers(0, 2, 4)
    described = Lesion(SIDES[choices[0]], LOBES[choices[1]], SIZES[choices[2]], SIGNALS[choices[3]])
    lesion = described if random.random() < lesion_probability(at)[0] else None
    ventricle = float(random.normal(ventricle_mean(at)[0], VENTRICLE_SD))
    head = float(random.normal(1 + HEAD_SHIFT * (2 * male - 1), HEAD_SD))
    history = HISTORIES[int(random.choice(len(HISTORIES), p=history_probabilities(at)[0]))]
    return Head(number, age, male, lesion, ventricle, head, history)
