"""Calibration by region, of distributions with known calibration."""

import numpy as np
import pytest
from scipy import stats

from metavoxel.evaluation.metrics.conditional import CHANCE, FEW, label_regions, nominal_coverage, number_regions
from metavoxel.evaluation.metrics.ranks import components, crps, transforms
from metavoxel.evaluation.metrics.regions import Region, thirds

ROWS = 300


def study(seed=0, rows=ROWS, draws=20, factor=lambda age: np.ones_like(age)):
    """A Gaussian number whose mean and sd depend on age, with draws of ``factor`` times its sd."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 80, rows)
    mean, sd = age / 10, 0.5 + age / 80
    truth = mean + sd * rng.normal(size=rows)
    drawn = mean[:, None] + (sd * factor(age))[:, None] * rng.normal(size=(rows, draws))
    return age, truth, drawn, [f"s{row}" for row in range(rows)]


def by_age(age):
    return list(thirds("age", age))


def test_exact_draws_are_within_chance_in_all_regions():
    """At level .01 per question, 2 significant results of 200 are expected; more than 8 are very unlikely."""
    out = 0
    for seed in range(200):
        age, truth, draws, subjects = study(seed, rows=90)
        sexes = [Region("sex", name, np.arange(90) % 2 == place) for place, name in enumerate("FM")]
        table = number_regions([*by_age(age), *sexes], draws, truth, subjects, seed=seed)
        out += (table["finding"] != CHANCE).any()
    assert out <= 8


def test_measures_match_manual_computation():
    age, truth, draws, subjects = study()
    truth[::7] = np.nan
    table = number_regions(by_age(age), draws, truth, subjects, seed=3)
    assert table["predictor"].tolist() == ["all rows", "age", "age", "age"]
    known = np.isfinite(truth)
    low, high = np.quantile(draws, [0.05, 0.95], axis=1, method="weibull")
    u = transforms(draws[known], truth[known], seed=3)
    for row, region in zip(table.iloc[1:].itertuples(), by_age(age), strict=True):
        rows = region.rows & known
        covered = (low[rows] <= truth[rows]) & (truth[rows] <= high[rows])
        assert row.rows == rows.sum() and row.coverage == pytest.approx(covered.mean())
        assert row.width == pytest.approx((high - low)[rows].mean())
        scores = crps(draws, truth)[rows]
        assert pytest.approx(scores.mean()) == row.CRPS
        n = rows.sum()
        record = table.loc[row.Index]
        assert record["CRPS se"] == pytest.approx(scores.std(ddof=1) / np.sqrt(n))
        assert record["width se"] == pytest.approx((high - low)[rows].std(ddof=1) / np.sqrt(n))
        assert record["coverage se"] == pytest.approx(np.sqrt(0.09 / n))
        inside = region.rows[known]
        central = ((u > 0.05) & (u < 0.95))[inside].mean()
        assert record["z coverage"] == pytest.approx((central - 0.9) / np.sqrt(0.09 / n))
        assert central == pytest.approx(covered.mean(), abs=0.04)
        expected = components(u)[inside].sum(0) / np.sqrt(n)
        assert record[["z centre", "z spread", "z skew", "z peaks"]].astype(float).tolist() == pytest.approx(expected)


def test_intervals_too_wide_for_the_young_and_too_narrow_for_the_old():
    """Coverage over all rows is about .9 by the choice of factors; the outer thirds are far from it."""

    def factor(age):
        return np.where(age < 40, 4.0, np.where(age < 60, 1.0, 0.66))

    age, truth, draws, subjects = study(rows=600, factor=factor)
    table = number_regions(by_age(age), draws, truth, subjects).set_index("region")
    assert abs(table.loc["", "coverage"] - 0.9) < 0.03
    young, middle, old = (table.loc[region.label] for region in by_age(age))
    assert young["finding"] == "too wide" and young["z"] < -8
    assert old["finding"] == "too narrow" and old["z"] > 3
    # Gaussian draws with f times the sd cover 2 Phi(1.645 f) - 1; the lowest third extends slightly beyond 40.
    assert young["coverage"] > 0.96
    assert old["coverage"] == pytest.approx(2 * stats.norm.cdf(1.645 * 0.66) - 1, abs=0.08)
    assert middle["finding"] == CHANCE


@pytest.mark.parametrize(("shift", "finding"), [(2.0, "too high"), (-2.0, "too low")])
def test_draws_biased_in_one_class(shift, finding):
    _, truth, draws, subjects = study()
    first = np.arange(ROWS) % 2 == 0
    draws[first] += shift
    table = number_regions([Region("sex", "F", first), Region("sex", "M", ~first)], draws, truth, subjects)
    assert table["finding"].tolist()[1:] == [finding, CHANCE]


def test_unimodal_draws_of_a_bimodal_truth():
    """Truth near 1 or -1, Gaussian draws of the same mean and variance: coverage is right, the shape is not."""
    rng = np.random.default_rng(0)
    truth = rng.choice([-1.0, 1.0], ROWS) + 0.2 * rng.normal(size=ROWS)
    draws = np.sqrt(1.04) * rng.normal(size=(ROWS, 20))
    table = number_regions([], draws, truth, [str(row) for row in range(ROWS)])
    assert table["finding"].tolist() == ["wrong shape"] and table["test"].tolist() == ["peaks"]


def test_regions_of_few_rows_are_not_tested():
    age, truth, draws, subjects = study()
    few = np.arange(ROWS) < 9
    table = number_regions([Region("site", "x", few)], np.where(few[:, None], draws + 50, draws), truth, subjects)
    assert table["finding"].tolist()[1] == FEW and np.isnan(table["p"][1])


def test_repeated_rows_of_a_subject_add_no_evidence():
    """With ten copies of each row, z is about that of the single rows, not of ten times as many."""
    _, truth, draws, subjects = study(rows=60)
    draws = draws + 0.4
    once = number_regions([], draws, truth, subjects)
    truth, draws, subjects = np.repeat(truth, 10), np.repeat(draws, 10, 0), list(np.repeat(subjects, 10))
    ten = number_regions([], draws, truth, subjects)
    for name, place in (("centre", 0), ("spread", 1)):
        values = components(transforms(draws, truth))[:, place]
        sums = values.reshape(60, 10).sum(1)
        expected = values.sum() / np.sqrt(600 + max(0, (sums**2).sum() - (values**2).sum()))
        assert ten[f"z {name}"][0] == pytest.approx(expected)
    assert abs(ten["z centre"][0]) < 1.3 * abs(once["z centre"][0]) + 0.5
    assert ten["CRPS se"][0] == pytest.approx(once["CRPS se"][0]) and ten["CRPS"][0] == pytest.approx(once["CRPS"][0])
    alone = number_regions([], draws, truth, [str(row) for row in range(600)])
    assert abs(alone["z centre"][0]) > 2.5 * abs(ten["z centre"][0])


def test_counts_with_ties_are_within_chance():
    """Exact draws of a count that is mostly 0: their closed intervals cover more than .9, which is no finding."""
    rng = np.random.default_rng(0)
    group = np.arange(ROWS) % 2 == 0
    every = rng.poisson(np.where(group, 0.1, 2.0)[:, None], (ROWS, 21)).astype(float)
    regions = [Region("sex", "F", group), Region("sex", "M", ~group)]
    table = number_regions(regions, every[:, 1:], every[:, 0], [str(row) for row in range(ROWS)])
    low, high = np.quantile(every[:, 1:], [0.05, 0.95], axis=1, method="weibull")
    covered = (low <= every[:, 0]) & (every[:, 0] <= high)
    assert table["coverage"].tolist()[1:] == pytest.approx([covered[group].mean(), covered[~group].mean()])
    assert table["coverage"][1] > 0.92 and table["finding"].tolist() == [CHANCE] * 3


def test_few_draws_have_a_lower_nominal_coverage():
    assert nominal_coverage(3) == 0.5 and nominal_coverage(19) == nominal_coverage(20) == 0.9
    age, truth, draws, subjects = study(rows=900, draws=3)
    table = number_regions(by_age(age), draws, truth, subjects)
    assert (table["nominal"] == 0.5).all() and (table["finding"] == CHANCE).all()
    assert abs(table["coverage"][0] - 0.5) < 4 * np.sqrt(0.25 / 900)


def probabilities(seed=0, rows=ROWS, classes=3):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), rows)
    truth = np.array([rng.choice(classes, p=row) for row in p])
    return p, truth, [f"s{row}" for row in range(rows)]


def test_exact_probabilities_are_within_chance():
    out = 0
    for seed in range(150):
        p, truth, subjects = probabilities(seed, rows=90)
        groups = [Region("site", str(site), np.arange(90) % 3 == site) for site in range(3)]
        out += (label_regions(groups, p, truth, subjects, "abc")["finding"] != CHANCE).any()
    assert out <= 7


def test_measures_of_a_label_match_manual_computation():
    p, truth, subjects = probabilities(classes=2)
    truth[:20] = -1
    half = np.arange(ROWS) % 2 == 0
    table = label_regions([Region("site", "x", half)], p, truth, subjects, ["no", "yes"])
    rows = half & (truth >= 0)
    score = -np.log(p[rows, truth[rows]])
    found = table.iloc[1]
    assert found["rows"] == rows.sum() and found["log score"] == pytest.approx(score.mean())
    assert found["log score se"] == pytest.approx(score.std(ddof=1) / np.sqrt(rows.sum()))
    assert found["log score expected"] == pytest.approx(-(p * np.log(p))[rows].sum(1).mean())
    assert found["class"] == "yes" and found["probability"] == pytest.approx(p[rows, 1].mean())
    assert found["frequency"] == pytest.approx((truth[rows] == 1).mean())


def test_probabilities_calibrated_only_on_average():
    """Every probability is .5; all rows of one site have the label, and none of the other."""
    p = np.full((100, 2), 0.5)
    site = np.arange(100) < 50
    truth = site.astype(int)
    subjects = [str(row) for row in range(100)]
    table = label_regions([Region("site", "a", site), Region("site", "b", ~site)], p, truth, subjects, ["no", "yes"])
    assert table["finding"].tolist() == [CHANCE, "too little yes", "too much yes"]
    assert table["z"].tolist()[1:] == pytest.approx([50 * 0.5 / np.sqrt(50 * 0.25), -np.sqrt(50)])


def test_over_confident_probabilities():
    p, truth, subjects = probabilities(rows=900, classes=2)
    sharpened = p**4 / (p**4).sum(1, keepdims=True)
    table = label_regions([], sharpened, truth, subjects, ["no", "yes"])
    assert table["finding"].tolist() == ["too sure"] and table["log score"][0] > table["log score expected"][0]


def test_frequencies_of_three_draws_are_not_over_confident():
    """Frequencies of three exact draws are mostly 0 or 1 by chance, which is not over-confidence."""
    p, truth, subjects = probabilities(rows=900)
    rng = np.random.default_rng(1)
    shares = np.stack([rng.multinomial(3, row) / 3 for row in p])
    assert label_regions([], shares, truth, subjects, "abc", of_draws=True)["finding"].tolist() == [CHANCE]
    assert label_regions([], shares, truth, subjects, "abc")["finding"].tolist() == ["too sure"]


def test_a_single_rare_event_is_not_significant():
    p = np.tile([1 - 1e-9, 1e-9], (50, 1))
    truth = np.zeros(50, np.int64)
    truth[0] = 1
    table = label_regions([], p, truth, [str(row) for row in range(50)], ["no", "yes"])
    assert table["finding"].tolist() == [CHANCE]
