"""Distributions that are named, each with its setting, and those that are not."""

import numpy as np
import pytest

from metavoxel.cohort.number_warnings import number_warnings
from metavoxel.parts.variables.continuous import ContinuousSpec

QUANTILE, LOG, COUNT = "'transform: quantile'", "'transform: log'", "'type: count' (plugin metavoxel-count)"


def named(values, **settings):
    found = list(number_warnings(ContinuousSpec(**settings), np.asarray(values, float)))
    assert len(found) <= 1
    return found[0] if found else None


def rng():
    return np.random.default_rng(0)


AGES = rng().normal(50, 10, 100)
CEILING = np.minimum(rng().normal(90, 15, 200), 100)
WHOLE = rng().poisson(9, 60)

NORMAL = {
    "normal": lambda r, n: r.normal(50, 12, n),
    "one decimal": lambda r, n: r.normal(50, 4, n).round(1),
    "whole years": lambda r, n: r.normal(50, 14, n).round(),
    "just above 0": lambda r, n: np.abs(r.normal(5, 2, n)) + 1e-3,
    "uniform": lambda r, n: r.uniform(20, 90, n),
    "two groups": lambda r, n: r.normal(0, 1, n) + 4 * (r.random(n) < 0.5),
}


@pytest.mark.parametrize("count", [5, 20, 50, 200, 1000])
@pytest.mark.parametrize("kind", NORMAL)
def test_ordinary_numbers_are_hardly_ever_named(kind, count):
    """By chance at most 5 columns of 1000; expected about 1."""
    r = np.random.default_rng(count)
    columns = 1000 if count < 1000 else 200
    alarms = sum(named(NORMAL[kind](r, count)) is not None for _ in range(columns))
    assert alarms <= 5 * columns / 1000


@pytest.mark.parametrize(
    ("values", "starts", "cures"),
    [
        ([0, 1, 2, 2] * 5, "20 rows have 3 distinct values alone (0, 1, 2), and draws would lie between them",
         ["'type: categorical'", "'type: ordinal'", COUNT, QUANTILE]),
        ([1.5, 2.5] * 6, "12 rows have 2 distinct values alone (1.5, 2.5)", ["make it 'type: categorical'"]),
        ([-0.5, 0, 0.5, 1] * 5, "20 rows have 4 distinct values alone", ["'type: ordinal'", QUANTILE]),
        ([0.0] * 62 + list(rng().lognormal(0, 1, 38)),
         "62 of 100 values (62%) are 0, and none is lower: draws would lie beside it and below", [QUANTILE, COUNT]),
        (CEILING, f"{(CEILING == 100).sum()} of 200 values ({(CEILING == 100).mean():.0%}) are 100, and none is higher",
         [QUANTILE, "if it stands for 'missing', name it in cohort.missing"]),
        ([7.5] * 20 + list(rng().normal(7, 2, 80)), "20 of 100 values (20%) are 7.5: draws would lie beside it",
         [QUANTILE, "cohort.missing"]),
        (WHOLE, f"whole numbers with an sd of {WHOLE.std(ddof=1):.2g}, and draws would lie between them", [QUANTILE, COUNT]),
        (WHOLE - 9, f"whole numbers with an sd of {WHOLE.std(ddof=1):.2g}", [QUANTILE]),
        (rng().lognormal(0, 1, 50), "never negative and skewed to the right (skewness ", [LOG]),
        (100 - rng().lognormal(2, 0.9, 100), "never negative and skewed to the left (skewness -", [QUANTILE]),
        ([0.0, 0.0, 0.0, *rng().lognormal(0, 1.2, 97)], "never negative and skewed to the right", [QUANTILE]),
        (rng().lognormal(0, 1, 100) - 5, "skewed to the right (skewness ", [QUANTILE]),
        (rng().standard_t(2, 300), "", [QUANTILE]),
        ([*rng().normal(0, 10, 100), *rng().normal(50, 10, 100), 260, -240], "heavy tails (excess kurtosis ", [QUANTILE]),
        ([*AGES, 999], "never negative and skewed to the right (skewness ",
         [f"999 lies far from the rest ({AGES.min():g} to {AGES.max():g}). A mistake, or a code for 'missing'?", LOG]),
    ],
)  # fmt: skip
def test_what_is_named_and_its_cure(values, starts, cures):
    line = named(values)
    assert line is not None and line.startswith(starts)
    assert all(cure in line for cure in cures)
    assert named(values, transform="quantile") is None
    if QUANTILE not in cures:
        assert QUANTILE not in line
    if COUNT not in cures:
        assert COUNT not in line


def test_under_a_logarithm_it_is_the_logarithms_that_count():
    values = rng().lognormal(0, 1, 200)
    assert named(values, transform="log") is None
    assert named(np.exp(values), transform="log").startswith("skewed to the right (skewness of the logarithm ")


@pytest.mark.parametrize("values", [[], [3.0], [3.0] * 50, [0.0, 0, 0, 1], [1, 2, 3, 4, 5, 100.0]])
def test_few_rows_and_constants_have_no_shape(values):
    assert named(values) is None


def test_percentages_and_moments_are_those_of_the_values():
    values = rng().exponential(3, 500)
    z = (values - values.mean()) / values.std()
    assert f"(skewness {(z**3).mean():.1f})" in named(values)
