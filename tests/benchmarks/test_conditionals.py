"""The measures of the analytic benchmark on answers that are exact, and on answers that are wrong in a known way."""

import numpy as np
import pytest
import torch

from benchmarks import conditionals, evaluations
from benchmarks.conditionals import ORACLE
from metavoxel.rng import Rng
from metavoxel.sampling.settings import Sampling

ANY = Sampling(steps=1)


class ExactRun:
    """Answers as the oracle does; or, blind, as if nothing were given."""

    names = ORACLE.names

    def __init__(self, *, blind=False):
        self._blind = blind

    def _posterior(self, given, rows):
        return ORACLE.given({} if self._blind else given, rows=rows)

    def predict(self, given, *, evaluations, seed, rows=None):
        posterior = self._posterior(given, len(next(iter(given.values()))) if rows is None else rows)
        return {name: posterior.mean(name) for name in ORACLE.scalars} | {
            name: posterior.probabilities(name) for name in ORACLE.categories
        }

    def draw(self, given, sampling, *, rows, seed, marginal=()):
        drawn = self._posterior(given, rows).sample(Rng.for_rows(rows, "exact run", seed))
        return {name: value for name, value in drawn.items() if name not in given and name not in marginal}


def test_the_read_out_of_exact_answers_is_exact():
    found = list(conditionals.pure_noise(ExactRun(), 20, 1))
    assert len(found) == 62
    assert np.nanmax([errors.ratio for errors in found]) == pytest.approx(1.0)
    assert np.nanmax([errors.probabilities for errors in found]) == pytest.approx(0.0, abs=1e-12)


def test_the_read_out_of_a_blind_model_has_the_variance_that_evidence_explains():
    (errors,) = [found for found in conditionals.pure_noise(ExactRun(blind=True), 2000, 1) if found.names == ("s1",)]
    rows = conditionals.fresh(2000, "read-out")
    exact = ORACLE.given({"s1": rows["s1"]})
    scalars = ("s2", "s3", "s4")
    explained = sum(exact.mean(name).var() for name in scalars) / sum(exact.variance(name).mean() for name in scalars)
    assert errors.ratio == pytest.approx(1 + float(explained), rel=0.05)


def test_two_draws_measure_the_error_of_the_mean():
    names = ("s1", "s2", "five")
    found = conditionals.mean_of([conditionals.squared_error(ExactRun(), ANY, names, 20_000)])
    assert found.mean == pytest.approx(1.0, abs=5 * found.error)
    assert found.error < 0.02
    blind = float(conditionals.squared_error(ExactRun(blind=True), ANY, names, 20_000).mean())
    rows = conditionals.fresh(20_000, "squared error")
    exact = ORACLE.given({name: rows[name] for name in names})
    off = sum((exact.mean(name) - ORACLE.given({}).mean(name)).square().mean() for name in ("s3", "s4"))
    assert blind == pytest.approx(1 + float(off / sum(exact.variance(n).mean() for n in ("s3", "s4"))), abs=0.15)


def test_intervals_of_exact_draws_cover():
    held, error = conditionals.coverage(ExactRun(), ANY, 250, 200)
    assert held == pytest.approx(0.9, abs=5 * error)
    assert error < 0.01


def test_the_categories_joint_of_exact_answers_is_exact_and_a_blind_models_is_not():
    for names in ((), ("s1",)):
        assert conditionals.joint_in_turn(ExactRun(), names, 200).mean == pytest.approx(0, abs=1e-12)
        found, exact = conditionals.joint_together(ExactRun(), names, 10, 4000, 1)
        assert found == pytest.approx(exact, abs=0.005)
    assert conditionals.joint_in_turn(ExactRun(blind=True), ("s1",), 200).mean > 0.2
    assert conditionals.joint_together(ExactRun(blind=True), ("s1",), 10, 4000, 1)[0] > 0.2


def test_two_samples_tell_a_blind_model_and_not_an_exact_one(monkeypatch):
    monkeypatch.setattr(conditionals, "c2st", lambda first, second: small_forest(first, second))
    assert conditionals.two_samples(ExactRun(), ANY, ("s1", "s2"), 800) == pytest.approx(0.5, abs=0.06)
    assert conditionals.two_samples(ExactRun(blind=True), ANY, ("s1", "s2"), 800) > 0.6


def small_forest(first, second):
    from metavoxel.evaluation.metrics.two_sample import c2st

    return c2st(first, second, trees=20)


def test_the_spread_of_exact_draws_is_right_and_that_of_a_mean_is_not():
    assert evaluations.spread_error(ExactRun(), ANY, ("s1",), 2000) < 0.02

    class Mean(ExactRun):
        def draw(self, given, sampling, *, rows, seed, marginal=()):
            means = self.predict(given, evaluations=1, seed=0)
            return {name: means[name] for name in ORACLE.scalars if name not in given}

    assert evaluations.spread_error(Mean(), ANY, ("s1",), 500) > 0.15


def test_every_row_of_fresh_data_is_new():
    first, second = (conditionals.fresh(5, purpose)["s1"] for purpose in ("a", "b"))
    assert not torch.isclose(first, second).any()
