"""Distributions with a warning and its suggested setting, and those without."""

import numpy as np
import pytest
import torch

from metavoxel.parts.variables.continuous import ContinuousSpec

QUANTILE, LOG, COUNT = "'transform: quantile'", "'transform: log'", "'type: count' (plugin metavoxel-count)"


def warned(values, **settings):
    found = list(ContinuousSpec(**settings).value_warnings(torch.tensor(np.asarray(values, float))))
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


@pytest.mark.parametrize(
    "count", [5, pytest.param(20, marks=pytest.mark.slow), 50, pytest.param(200, marks=pytest.mark.slow), 1000]
)
@pytest.mark.parametrize("kind", NORMAL)
def test_false_alarms_are_rare(kind, count):
    """At most 5 columns of 1000 by chance; expected about 1."""
    r = np.random.default_rng(count)
    columns = 1000 if count < 1000 else 200
    alarms = sum(warned(NORMAL[kind](r, count)) is not None for _ in range(columns))
    assert alarms <= 5 * columns / 1000


@pytest.mark.parametrize(
    ("values", "starts", "remedies"),
    [
        ([0, 1, 2, 2] * 5, "20 rows have only 3 distinct values (0, 1, 2), and draws would lie between them",
         ["'type: categorical'", "'type: ordinal'", COUNT, QUANTILE]),
        ([1.5, 2.5] * 6, "12 rows have only 2 distinct values (1.5, 2.5)", ["make it 'type: categorical'"]),
        ([-0.5, 0, 0.5, 1] * 5, "20 rows have only 4 distinct values", ["'type: ordinal'", QUANTILE]),
        ([0.0] * 62 + list(rng().lognormal(0, 1, 38)),
         "62 of 100 values (62%) are 0, the minimum: draws would miss it and fall below", [QUANTILE, COUNT]),
        (CEILING, f"{(CEILING == 100).sum()} of 200 values ({(CEILING == 100).mean():.0%}) are 100, the maximum",
         [QUANTILE, "if it stands for 'missing', add it to cohort.missing"]),
        ([7.5] * 20 + list(rng().normal(7, 2, 80)), "20 of 100 values (20%) are 7.5: draws would miss it",
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
         [f"999 is an outlier (the others: {AGES.min():g} to {AGES.max():g}). If it is an error, correct it; if it stands for 'missing'", LOG]),
    ],
)  # fmt: skip
def test_warnings_suggest_a_remedy(values, starts, remedies):
    line = warned(values)
    assert line is not None and line.startswith(starts)
    assert all(remedy in line for remedy in remedies)
    assert warned(values, transform="quantile") is None
    if QUANTILE not in remedies:
        assert QUANTILE not in line
    if COUNT not in remedies:
        assert COUNT not in line


def test_under_log_the_logarithms_are_judged():
    values = rng().lognormal(0, 1, 200)
    assert warned(values, transform="log") is None
    assert warned(np.exp(values), transform="log").startswith("skewed to the right (skewness of the logarithm ")


@pytest.mark.parametrize("values", [[], [3.0], [3.0] * 50, [0.0, 0, 0, 1], [1, 2, 3, 4, 5, 100.0]])
def test_few_rows_and_constants_give_no_warning(values):
    assert warned(values) is None


def test_moments_are_those_of_the_values():
    values = rng().exponential(3, 500)
    z = (values - values.mean()) / values.std()
    assert f"(skewness {(z**3).mean():.1f})" in warned(values)
