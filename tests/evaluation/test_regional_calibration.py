"""Calibration findings for an exact model, and for models with a known misspecification."""

from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch
from exact_joint import exact_model
from scipy import stats

from metavoxel.cohort.table import read_table
from metavoxel.evaluation import held_out_predictions as predicting
from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.held_out_predictions import HeldOutPredictor
from metavoxel.evaluation.metrics.conditional import CHANCE
from metavoxel.evaluation.regional_calibration import (
    rank_table,
    region_tables,
    regional_calibrations,
    small_table,
    summary,
)
from metavoxel.evaluation.rows import drawn_rows, real_rows, with_gaps
from metavoxel.evaluation.samples import generate
from metavoxel.evaluation.settings import Settings, protocol
from metavoxel.evaluation.store import Store
from metavoxel.evaluation.table_quality import compared_rows, distinguishable
from metavoxel.runs.run import RunFolder
from metavoxel.testing import MixtureOracle

ROWS = 150
CORRELATION = 0.8
SETTINGS = Settings(steps=10, sample_steps=12, draws=20)
WIDTH = np.ptp(
    np.quantile(np.random.default_rng(0).normal(size=(20000, 20)), [0.05, 0.95], axis=1, method="weibull").mean(1)
)
"""Mean width of the 90 % interval of 20 standard normal draws."""


def oracle(correlation=CORRELATION, spread=(1.0, 1.0)):
    """Two numbers, and two classes with means 1.5 apart and possibly different standard deviations."""
    cov = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    return MixtureOracle(
        weights=[0.5, 0.5],
        scalars=("x", "y"),
        means=torch.tensor([[0.0, 0.0], [1.5, 0.0]]),
        covariances=torch.stack([cov * spread[0] ** 2, cov * spread[1] ** 2]),
        categories={"a": torch.eye(2)},
    )


def truth(seed, rows=ROWS):
    """Rows of the joint distribution, drawn by numpy; every ninth x and every seventh class is missing."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 2, rows)
    xy = rng.multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], rows)
    frame = pandas.DataFrame({"id": [f"{seed}-{row}" for row in range(rows)], "x": xy[:, 0] + 1.5 * a, "y": xy[:, 1]})
    frame["a"] = [f"a{k}" for k in a]
    frame = frame.astype(str)
    frame.loc[::9, "x"] = ""
    frame.loc[::7, "a"] = ""
    return frame


def part(model, folder, seed=1):
    truth(seed).to_csv(folder / "subjects.csv", index=False)
    table = read_table(folder / "subjects.csv")
    return HeldOut(model, RunFolder(folder), table, model.read(table, model.names))


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def predicted(held_out, folder, target, given):
    settings = replace(SETTINGS, targets=[target]).checked(held_out.model.schema)
    predictor = HeldOutPredictor(held_out, Store(folder, {}), 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting, "BLOCK", ROWS)  # one call of the exact denoiser for all rows
        return finished(predictor.predict(target, given, protocol(held_out.model, settings, target)))


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    held_out = part(exact_model(oracle(), folder), folder)
    questions = (("x", ("y", "a")), ("x", ()), ("a", ("x", "y")))
    return held_out, [predicted(held_out, folder / "parts", *question) for question in questions]


def test_an_exact_model_has_no_findings(exact):
    held_out, answers = exact
    found = list(regional_calibrations(held_out, [*answers, answers[0]], seed=0))
    assert [(one.target, one.given) for one in found] == [("x", "y, a"), ("x", "∅"), ("a", "x, y")]
    assert not any(one.stands_out for one in found)
    known = ROWS - len(range(0, ROWS, 9))
    assert found[0].table["rows"][0] == np.isfinite(found[0].transforms).sum() == known
    assert set(found[0].table["predictor"]) == {"all rows", "y", "a", "prediction"}
    assert found[0].table.set_index(["predictor", "region"]).loc[("a", "missing"), "rows"] > 0
    assert found[1].table["predictor"].tolist() == ["all rows"]
    # The exact standard deviation of x given y and the class is .6 where the class is known.
    one = found[0].table[(found[0].table["predictor"] == "a") & (found[0].table["region"] == "a1")].iloc[0]
    assert one["width"] == pytest.approx(WIDTH * 0.6, rel=0.12)
    assert one["CRPS"] == pytest.approx(0.6 / np.sqrt(np.pi), abs=4 * one["CRPS se"])


def test_tables_have_every_region(exact):
    held_out, answers = exact
    found = list(regional_calibrations(held_out, answers, seed=0))
    tables = region_tables(found)
    assert len(tables["regions-numbers"]) == len(found[0].table) + 1
    assert tables["regions-labels"]["target"].unique().tolist() == ["a"]
    rows = summary(found).rows
    assert [row["target"] for row in rows] == ["x", "x", "a"] and "worst region" not in rows[1]
    assert rows[0]["finding"] == CHANCE and rows[0]["regions"] == len(found[0].table) - 1
    assert len(small_table(found[0], 4).rows) == 4
    ranks = rank_table(found)
    counts = ranks.groupby(["target", "given"])["rows"].sum()
    assert counts["x", "∅"] == ROWS - len(range(0, ROWS, 9))
    rows = counts["x", "y, a"]
    assert ranks["expected"].tolist() == pytest.approx([rows / 10] * 20)
    assert ranks["low"].unique() == stats.binom.ppf(0.0025, rows, 0.1)
    assert ranks["high"].unique() == stats.binom.ppf(0.9975, rows, 0.1)


def test_a_model_too_wide_in_one_class_and_too_narrow_in_the_other(tmp_path):
    held_out = part(exact_model(oracle(spread=(3.0, 0.5)), tmp_path), tmp_path)
    answers = predicted(held_out, tmp_path / "parts", "x", ("a",))
    (one,) = regional_calibrations(held_out, [answers], seed=0)
    table = one.table.set_index(["predictor", "region"])
    assert table.loc[("a", "a0"), "finding"] == "too wide" and table.loc[("a", "a1"), "finding"] == "too narrow"
    assert table.loc[("a", "a0"), "width"] == pytest.approx(WIDTH * 3, rel=0.12)
    assert one.stands_out and summary([one]).rows[0]["worst region"] in ("a: a0", "a: a1")


@pytest.mark.slow
def test_only_generated_rows_of_an_exact_model_are_indistinguishable(tmp_path):
    real = exact_model(oracle(), tmp_path)
    training, held = (real_rows(real, part(real, tmp_path, seed).cohort) for seed in (2, 1))
    assert len(held) == ROWS and np.isnan(held.values[0]).tolist() == [True, False, True]

    def compared(model, name):
        samples = finished(generate(model, Store(tmp_path / name, {}), SETTINGS, ROWS, at_once=ROWS))
        drawn = with_gaps(drawn_rows(model, samples.table), training)
        return compared_rows(drawn, held, training, None, seed=0)

    found = compared(real, "exact")
    assert not distinguishable(found.test) and abs(found.test.accuracy - 0.5) < 3 * found.test.error
    assert (found.marginals["finding"] == CHANCE).all() and found.pairs.p > 0.01
    (tmp_path / "other").mkdir()
    wrong = compared(exact_model(oracle(correlation=-0.8), tmp_path / "other"), "wrong")
    assert distinguishable(wrong.test) and wrong.test.accuracy > 0.65
    assert (wrong.marginals["finding"] == CHANCE).all(), "the marginal distributions are exact"
    pair = wrong.pairs.table.iloc[0]
    assert {pair["first"], pair["second"]} == {"x", "y"} and wrong.pairs.p < 1e-6
    # Correlation over both classes: .8 / sqrt(1 + 1.5² / 4), with either sign; Spearman's is slightly less.
    assert pair["difference"] == pytest.approx(-2 * CORRELATION / np.sqrt(1 + 1.5**2 / 4), abs=0.25)
