"""Posteriors and expected errors of age, against many simulated subjects."""

import math

import numpy as np
import pytest

from metavoxel.cohort.phantoms.reports import age_posterior, report_bounds
from metavoxel.cohort.phantoms.reports.heads import GRADES, HEAD_SD, HISTORIES, draw_head

HEADS = [draw_head(5, number) for number in range(1, 6001)]
AGES = np.array([head.age for head in HEADS])
FINDINGS = {
    "lesion": np.array([head.lesion is not None for head in HEADS]),
    "ventricle": np.array([head.ventricle for head in HEADS]),
    "grade": np.array([GRADES.index(head.facts.ventricles) for head in HEADS]),
    "history": np.array([HISTORIES.index(head.history) for head in HEADS]),
}
GIVEN = {"image": ("lesion", "ventricle"), "report": ("lesion", "grade", "history"),
         "both": ("lesion", "ventricle", "history")}  # fmt: skip


def z_score(values, expected):
    return (np.mean(values) - expected) / (np.std(values) / math.sqrt(len(values)))


@pytest.mark.parametrize("given", GIVEN)
def test_the_posterior_is_calibrated(given):
    found = age_posterior(**{name: FINDINGS[name] for name in GIVEN[given]})
    assert abs(z_score(AGES - found.mean, 0)) < 4
    assert abs(z_score(((AGES - found.mean) / found.sd) ** 2, 1)) < 4
    assert abs(z_score(found.median > AGES, 0.5)) < 4


@pytest.mark.parametrize("given", GIVEN)
def test_the_expected_errors_are_those_of_many_subjects(given):
    found = age_posterior(**{name: FINDINGS[name] for name in GIVEN[given]})
    errors = report_bounds()._asdict()
    assert abs(z_score((AGES - found.mean) ** 2, errors[f"age_rmse_given_{given}"] ** 2)) < 4
    assert abs(z_score(np.abs(AGES - found.median), errors[f"age_mae_given_{given}"])) < 4


def test_more_findings_have_smaller_errors():
    found = report_bounds()
    assert found.age_rmse_given_both < found.age_rmse_given_image < found.age_rmse_given_report
    assert found.age_mae_given_both < found.age_mae_given_image < found.age_mae_given_report


def test_equal_facts_and_the_sex_of_a_head():
    facts = [head.facts for head in HEADS]
    assert abs(z_score([one == other for one, other in zip(facts[::2], facts[1::2], strict=True)],
                       report_bounds().same_facts)) < 4  # fmt: skip
    right = [(head.head > 1) == head.male for head in HEADS]
    assert abs(z_score(right, report_bounds().sex_accuracy_given_image)) < 4 and HEAD_SD == 0.02


def test_no_finding_is_refused():
    with pytest.raises(ValueError, match="at least one finding"):
        age_posterior()
