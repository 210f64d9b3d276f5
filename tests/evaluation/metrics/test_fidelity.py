"""Distances between samples of rows, against independently computed values."""

import numpy as np
import pytest
from scipy import stats

from metavoxel.evaluation.metrics.fidelity import marginals, pairs
from metavoxel.evaluation.rows import Rows


def rows(values, classes=None, tag="a"):
    """Rows with columns a, b, ..., some categorical."""
    values = np.asarray(values, float)
    names = [chr(ord("a") + place) for place in range(values.shape[1])]
    return Rows(values, names, classes or {}, [f"{tag}{row}" for row in range(len(values))])


def normal(seed, count=400, rho=0.5, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal([shift, 0], [[1, rho], [rho, 1]], count)


def test_distances_of_a_number_match_manual_computation():
    found = marginals(rows([[0.0], [1], [2], [np.nan]]), rows([[1.0], [2], [3]])).iloc[0]
    assert found["rows"] == 3 and found["Kolmogorov-Smirnov"] == pytest.approx(1 / 3)
    sd = np.sqrt(2 / 3)
    assert found["Wasserstein (sd)"] == pytest.approx(1 / sd)
    assert found["mean difference (sd)"] == pytest.approx(-1 / sd) and np.isnan(found["total variation"])


def test_distance_of_a_category_matches_manual_computation():
    classes = {"a": ["x", "y", "z"]}
    first, second = (np.repeat([0.0, 1, 2], counts)[:, None] for counts in ([10, 30, 60], [40, 30, 30]))
    found = marginals(rows(first, classes), rows(second, classes)).iloc[0]
    assert found["total variation"] == pytest.approx(0.3)
    expected = np.array([[25, 30, 45]] * 2)
    statistic = ((np.array([[10, 30, 60], [40, 30, 30]]) - expected) ** 2 / expected).sum()
    assert found["p"] == pytest.approx(stats.chi2.sf(statistic, 2))


def test_rare_classes_are_merged():
    classes = {"a": ["x", "y", "z", "never"]}
    first, second = (np.repeat([0.0, 1, 2], counts)[:, None] for counts in ([50, 47, 3], [50, 49, 1]))
    found = marginals(rows(first, classes), rows(second, classes)).iloc[0]
    assert found["p"] == pytest.approx(1) and found["total variation"] == pytest.approx(0.02)


def test_equal_distributions_do_not_differ_significantly():
    p = [marginals(rows(normal(seed)), rows(normal(seed + 1000)))["p"].min() for seed in range(60)]
    assert np.mean(np.array(p) < 0.05) < 0.2
    shifted = marginals(rows(normal(0, shift=0.5)), rows(normal(1)))
    assert shifted["p"][0] < 1e-6 and shifted["Wasserstein (sd)"][0] == pytest.approx(0.5, abs=0.15)


def test_correlations_are_spearman_over_rows_with_both_variables():
    first, second = normal(0, rho=0.8), normal(1, rho=0.1)
    first[::5, 0] = np.nan
    found = pairs(rows(first), rows(second))
    known = np.isfinite(first[:, 0])
    expected = np.corrcoef(stats.rankdata(first[known, 0]), stats.rankdata(first[:, 1])[known])[0, 1]
    row = found.table.iloc[0]
    assert (row["first"], row["second"]) == ("a", "b") and len(found.table) == 1
    assert row["generated"] == pytest.approx(expected)
    assert row["generated"] == pytest.approx(stats.spearmanr(first[known, 0], first[known, 1])[0], abs=0.01)
    assert row["real"] == pytest.approx(stats.spearmanr(*second.T)[0])
    excess = np.mean([excess_of(first[known]), excess_of(second)])
    error = np.sqrt((1 / (known.sum() - 3) + 1 / 397) * max(1, excess))
    z = (np.arctanh(row["generated"]) - np.arctanh(row["real"])) / error
    assert row["z"] == pytest.approx(z, rel=0.02)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(row["z"])), rel=1e-6)
    assert found.rms == found.largest == pytest.approx(abs(row["difference"]))


def excess_of(pair):
    """Asymptotic variance of a correlation (Hotelling 1953) over (1 - r²)², from standardised ranks."""
    x, y = (stats.zscore(stats.rankdata(column)) for column in pair.T)
    r = (x * y).mean()
    spread = (
        (x**2 * y**2).mean() * (1 + r**2 / 2)
        + r**2 / 4 * ((x**4).mean() + (y**4).mean())
        - r * ((x**3 * y).mean() + (x * y**3).mean())
    )
    return spread / (1 - r**2) ** 2


def test_correlations_of_a_category_keep_their_sign():
    """The number is higher in class y in one sample and lower in the other, with the same unsigned association."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 300).astype(float)
    up, down = (sign * (label == 1) + 0.5 * rng.normal(size=300) for sign in (1, -1))
    classes = {"b": ["x", "y", "z"]}
    found = pairs(rows(np.stack([up, label], 1), classes), rows(np.stack([down, label], 1), classes))
    indicator = label == 1
    expected = [np.corrcoef(stats.rankdata(x), indicator)[0, 1] for x in (up, down)]
    row = found.table.iloc[0]
    assert [row["generated"], row["real"]] == pytest.approx(expected) and found.p < 1e-6


def test_family_wise_error_over_many_pairs_is_controlled():
    """Ten repetitions with 780 pairs of 40 variables, each at level .01."""
    out = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        first, second = (0.6 * rng.normal(size=(150, 1)) + rng.normal(size=(150, 40)) for _ in range(2))
        for values in (first, second):
            values[:, 20:] = values[:, 20:] > 1.8
        classes = {chr(ord("a") + place): ["no", "yes"] for place in range(20, 40)}
        out += pairs(rows(first, classes), rows(second, classes)).p < 0.01
    assert out <= 1


def test_a_constant_column_has_no_correlations():
    first, second = normal(0), normal(1)
    first[:, 0] = second[:, 0] = 3
    assert not len(pairs(rows(first), rows(second)).table)
    found = marginals(rows(first), rows(second)).iloc[0]
    assert found["Kolmogorov-Smirnov"] == 0 and np.isnan(found["Wasserstein (sd)"])
