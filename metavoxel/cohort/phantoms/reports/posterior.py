"""Exact posteriors of age given picture, report or both, and their expected errors in the population.

Given age, lesion, ventricle and history are independent of each other. A picture has lesion and ventricle up to noise,
so that no prediction from it has a smaller expected error than the posterior given these two; a report has lesion,
the grade of the ventricles, and the history. Posteriors are sums over equal cells of age (midpoint rule), and expected
errors are sums over the findings, with the ventricle on a lattice.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import norm

from metavoxel.cohort.phantoms.factors import OLDEST, YOUNGEST
from metavoxel.cohort.phantoms.reports.heads import (
    GRADE_LIMITS,
    GRADES,
    HEAD_SD,
    HEAD_SHIFT,
    LOBES,
    SIDES,
    SIGNALS,
    SIZES,
    VENTRICLE_SD,
    history_probabilities,
    lesion_probability,
    ventricle_mean,
)

CELLS = 280
"""Cells of age, four per year."""
_WIDTHS = np.linspace(-0.05, 0.43, 481)
"""Lattice of the ventricle's half-width, which reaches beyond five standard deviations at both ends of age."""


class AgePosterior(NamedTuple):
    """Posterior of age of n subjects, in years."""

    mean: Float64[np.ndarray, " n"]
    sd: Float64[np.ndarray, " n"]
    median: Float64[np.ndarray, " n"]


class ReportBounds(NamedTuple):
    """Expected errors in the population, and the probability that two subjects have the same facts.

    Age errors in years: root mean square error of the posterior mean, and mean absolute error of the posterior median.
    """

    age_rmse_given_image: float
    age_mae_given_image: float
    age_rmse_given_report: float
    age_mae_given_report: float
    age_rmse_given_both: float
    age_mae_given_both: float
    sex_accuracy_given_image: float
    same_facts: float


def _ages() -> Float64[np.ndarray, " cells"]:
    return YOUNGEST + (OLDEST - YOUNGEST) / CELLS * (np.arange(CELLS) + 0.5)


def _lesions() -> Float64[np.ndarray, "2 cells"]:
    """Return the probability of no lesion and of one."""
    p = lesion_probability(_ages())
    return np.stack([1 - p, p])


def _grades() -> Float64[np.ndarray, "3 cells"]:
    below = norm.cdf(np.array([-np.inf, *GRADE_LIMITS, np.inf])[:, None], ventricle_mean(_ages()), VENTRICLE_SD)
    return np.diff(below, axis=0)


def age_posterior(
    *,
    lesion: Bool[np.ndarray, " n"] | None = None,
    ventricle: Float64[np.ndarray, " n"] | None = None,
    grade: Int64[np.ndarray, " n"] | None = None,
    history: Int64[np.ndarray, " n"] | None = None,
) -> AgePosterior:
    """Compute the posterior of age given some of the findings, at least one.

    Args:
        lesion: whether there is a lesion.
        ventricle: half-width of a ventricle.
        grade: index of its grade.
        history: index of the history.
    """
    findings = [
        None if lesion is None else _lesions()[lesion.astype(np.int64)],
        None if ventricle is None else norm.pdf(ventricle[:, None], ventricle_mean(_ages()), VENTRICLE_SD),
        None if grade is None else _grades()[grade],
        None if history is None else history_probabilities(_ages()).T[history],
    ]
    given = [one for one in findings if one is not None]
    if not given:
        raise ValueError("give at least one finding")
    likelihood = np.ones((1, CELLS))
    for one in given:
        likelihood = likelihood * one
    mass = likelihood / likelihood.sum(1, keepdims=True)
    ages = _ages()
    mean = mass @ ages
    return AgePosterior(mean, np.sqrt((mass * (ages - mean[:, None]) ** 2).sum(1)), _median(mass))


def _median(mass: Float64[np.ndarray, "n cells"]) -> Float64[np.ndarray, " n"]:
    total, width, rows = np.cumsum(mass, axis=1), (OLDEST - YOUNGEST) / CELLS, np.arange(len(mass))
    cell = np.argmax(total >= 0.5, axis=1)
    return YOUNGEST + width * (cell + 1 - (total[rows, cell] - 0.5) / mass[rows, cell])


def _errors(joint: Float64[np.ndarray, "findings cells"]) -> tuple[float, float]:
    """Return the expected errors from the joint probabilities of findings and age."""
    ages = _ages()
    p = joint.sum(1, keepdims=True)
    mass = joint / p
    mean, median = mass @ ages, _median(mass)
    square = (joint * (ages - mean[:, None]) ** 2).sum()
    return float(np.sqrt(square)), float((joint * np.abs(ages - median[:, None])).sum())


def _joint(*findings: Float64[np.ndarray, "_ cells"]) -> Float64[np.ndarray, "_ cells"]:
    """Return the joint probabilities of all combinations of findings and age, which sum to 1."""
    rows = [np.prod(one, axis=0) for one in itertools.product(*findings)]
    joint = np.stack(rows)
    joint = joint[joint.sum(1) > 1e-12]
    return joint / joint.sum()


def report_bounds() -> ReportBounds:
    """Compute the expected errors in the population by sums over age and findings."""
    widths = norm.pdf(_WIDTHS[:, None], ventricle_mean(_ages()), VENTRICLE_SD)
    lesions, histories = _lesions(), history_probabilities(_ages()).T
    image, report = _errors(_joint(widths, lesions)), _errors(_joint(_grades(), lesions, histories))
    both = _errors(_joint(widths, lesions, histories))
    facts = _joint(_grades(), lesions).sum(1).reshape(len(GRADES), 2)
    same = (facts[:, 0] ** 2).sum() + (facts[:, 1] ** 2).sum() / (len(SIDES) * len(LOBES) * len(SIZES) * len(SIGNALS))
    sex = float(norm.cdf(HEAD_SHIFT / HEAD_SD))
    return ReportBounds(*image, *report, *both, sex, float(same))
