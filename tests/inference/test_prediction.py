"""Predictions of a model with an oracle in place of its network, against exact ones; codes are the values."""

import math

import numpy as np
import pandas
import pytest
import torch
from exact_joint import agreeing_pair, exact_model
from scipy.stats import norm

from metavoxel.errors import CohortWarning, EvidenceError
from metavoxel.rng import Rng
from metavoxel.testing import MixtureOracle

MIXTURE = MixtureOracle.default()
PAIR = agreeing_pair()
ROWS = 12


@pytest.fixture
def model(tmp_path):
    return exact_model(MIXTURE, tmp_path)


@pytest.fixture
def pair(tmp_path):
    return exact_model(PAIR, tmp_path)


@pytest.fixture(scope="module")
def truth():
    return MIXTURE.sample(Rng.for_rows(ROWS, "table"))


@pytest.fixture(scope="module")
def frame(truth):
    columns = {name: truth[name].tolist() for name in MIXTURE.scalars}
    columns |= {name: [f"{name[0]}{index}" for index in truth[name].tolist()] for name in MIXTURE.categories}
    return pandas.DataFrame({"id": [f"row{row}" for row in range(ROWS)], **columns})


def given(truth, *names):
    return {name: truth[name].float().double() for name in names}


def probabilities(table, name, classes):
    return torch.from_numpy(table[[f"{name}_p[{name[0]}{index}]" for index in range(classes)]].to_numpy(float).copy())


def test_posterior_means_are_exact(model, frame, truth):
    table = model.predict(frame, ["s1", "five"], ["s2", "binary"])
    posterior = MIXTURE.given(given(truth, "s2", "binary"))
    assert table["s1"].tolist() == pytest.approx(posterior.mean("s1").tolist(), abs=1e-4)
    torch.testing.assert_close(probabilities(table, "five", 5), posterior.probabilities("five"), atol=1e-5, rtol=0)


def test_a_prior_shifts_all_targets_by_bayes_rule(model, frame, truth):
    """The mean of another target is averaged over the classes by their shifted probabilities."""
    rates = {"b0": 0.9, "b1": 0.1}
    table = model.predict(frame, ["s3", "binary"], ["s1", "five"], prior={"binary": rates})
    known = given(truth, "s1", "five")
    own = MIXTURE.given({}, rows=1).probabilities("binary")
    weighted = MIXTURE.given(known).probabilities("binary") * torch.tensor([[0.9, 0.1]]) / own
    expected = weighted / weighted.sum(1, keepdim=True)
    torch.testing.assert_close(probabilities(table, "binary", 2), expected, atol=1e-4, rtol=0)
    means = [MIXTURE.given(known | {"binary": torch.full((ROWS,), index)}).mean("s3") for index in range(2)]
    mixed = (expected * torch.stack(means, 1)).sum(1)
    assert table["s3"].tolist() == pytest.approx(mixed.tolist(), abs=1e-3)
    unshifted = model.predict(frame, ["s3", "binary"], ["s1", "five"])
    assert (table["s3"] - unshifted["s3"]).abs().max() > 0.02


def test_a_prior_affects_draws(pair):
    """The category with the prior is drawn first, then the other targets in the schema's order."""
    frame = pandas.DataFrame({"id": [f"row{row}" for row in range(200)]})
    answer = pair.answer(frame, ["x", "a", "b"], [], draws=8, steps=15, prior={"b": {"b0": 0.1, "b1": 0.9}})
    assert answer.question.order == ["b", "x", "a"]
    table = answer.table()
    assert table["b_p[b1]"].to_numpy() == pytest.approx(0.9, abs=1e-5)
    assert table["a_p[a1]"].mean() == pytest.approx(0.82, abs=5 * 0.4 / math.sqrt(1600) + 0.02)


def test_a_table_of_all_draws(pair):
    frame = pandas.DataFrame({"id": ["one", "two"]})
    answer = pair.answer(frame, ["a", "b"], [], draws=300, order=["b", "a"])
    draws = answer.long_table()
    assert list(draws.columns) == ["id", "draw", "a", "b"] and len(draws) == 600
    assert draws["id"].tolist() == ["one"] * 300 + ["two"] * 300 and draws["draw"].tolist() == [*range(1, 301)] * 2
    agree = (draws["a"].str[1] == draws["b"].str[1]).mean()
    assert agree == pytest.approx(0.9, abs=5 * 0.3 / math.sqrt(600))
    # The marginal probabilities do not depend on the agreement
    assert answer.table()["a_p[a1]"].tolist() == pytest.approx([0.5, 0.5], abs=0.12)
    votes = answer.table(vote=True)
    assert set(votes["a"]) <= {"a0", "a1"}
    with pytest.raises(EvidenceError, match="there are no draws: use `draws=1` or more"):
        pair.answer(frame, "a", []).long_table()


def test_the_description_of_a_joint_prediction(model, pair, frame):
    assert (
        model.answer(frame, ["s1", "five"]).question.description
        == "each target by itself; draws give their joint distribution"
    )
    assert model.answer(frame, "s1").question.description == ""
    none = pandas.DataFrame({"id": ["one"]})
    drawn = pair.answer(none, ["b", "a"], [], draws=1)
    assert drawn.question.description == "joint draws, one after another: a, b"
    whole = pair.answer(none, ["b", "a"], [], draws=1, steps=2, order="together")
    assert whole.question.description == "joint draws, all in one trajectory" and whole.question.order is None


def test_a_measurement_with_an_error_is_a_likelihood(pair):
    """x = .6 with error .4, against the exact posterior of the categories and of the true value of x."""
    n = 2_000
    drawn = pair.sample(n, {"x": "0.6±0.4"}, steps=20)
    posterior = PAIR.given({"x": torch.tensor([0.6])}, sds={"x": 0.4})
    mean, variance = float(posterior.mean("x")), float(posterior.variance("x"))
    assert abs(float(drawn["x"].double().mean()) - mean) < 5 * math.sqrt(variance / n) + 0.01
    assert abs(float(drawn["x"].double().var()) / variance - 1) < 5 * math.sqrt(2 / n) + 0.03
    for name in ("a", "b"):
        probability = float(posterior.probabilities(name)[0, 1])
        found = float(drawn[name].double().mean())
        assert abs(found - probability) < 5 * math.sqrt(probability * (1 - probability) / n) + 0.01
    both = float(posterior.probabilities("a", "b")[0, 1, 1])
    assert abs(float((drawn["a"] * drawn["b"]).double().mean()) - both) < 0.06
    # Neither the measurement alone nor the exact value has these moments
    assert abs(mean - 0.6) > 0.01 and variance < 0.16
    assert pair.sample(2, {"x": "0.6 +- 0"}, steps=2)["x"].tolist() == pytest.approx([0.6, 0.6])


def test_log_likelihoods_are_in_the_variables_unit(tmp_path, truth, frame):
    """A code unit is 5 units of s1, whose log-density per unit is lower by log 5; a category has no unit."""
    wide = {"type": "continuous", "codec": {"type": "linear", "scale": "range", "range": [0, 10]}}
    model = exact_model(MIXTURE, tmp_path, s1=wide)
    shown = frame.assign(s1=5 + 5 * frame["s1"])
    found = model.log_likelihood(shown, ["s1", "binary"], evaluations=64)
    assert list(found.columns) == ["id", "logp[s1]", "logp[binary]"]
    for name, shift in (("s1", math.log(5)), ("binary", 0.0)):
        others = given(truth, *(other for other in MIXTURE.names if other != name))
        exact = MIXTURE.given(others).log_prob({name: truth[name]}) - shift
        assert found[f"logp[{name}]"].tolist() == pytest.approx(exact.tolist(), abs=0.8 if shift else 1e-3)
        assert found[f"logp[{name}]"].mean() == pytest.approx(float(exact.mean()), abs=0.2)
    alone = model.log_likelihood(shown.assign(binary=""), ["binary", "s1"], ["s1"], evaluations=2)
    assert alone["logp[binary]"].isna().all() and alone["logp[s1]"].notna().all()


SKEWED = np.concatenate([np.zeros(60), np.random.default_rng(0).lognormal(1, 1, 40)])


@pytest.fixture
def skewed(tmp_path):
    """Model of x in 100 rows, 60 of them 0 and the others log-normal, with code correlated by .8 with y."""
    covariances = torch.tensor([[[1.0, 0.8], [0.8, 1.0]]], dtype=torch.float64)
    oracle = MixtureOracle(
        weights=[1.0], scalars=("x", "y"), means=torch.zeros(1, 2), covariances=covariances, categories={}
    )
    spec = {"type": "continuous", "transform": "quantile", "valid": [0, 500]}
    model = exact_model(oracle, tmp_path, x=spec)
    model.codecs["x"].fit(lambda: [torch.from_numpy(SKEWED)])
    return model


def test_draws_of_quantile_codes_are_distributed_as_the_training_rows(skewed):
    assert skewed.bounds["x"][0] == -math.inf
    drawn = skewed.sample(4000, steps=20)["x"].double().numpy()
    assert drawn.min() == 0 and drawn.max() <= 500
    assert abs((drawn == 0).mean() - 0.6) < 0.03
    for level in (0.7, 0.8, 0.9):
        assert abs((drawn <= np.quantile(SKEWED, level)).mean() - level) < 0.03


def test_the_posterior_mean_of_a_quantile_code_decodes_to_the_median(skewed):
    """Because the code is normal: 0 while the probability of 0 is above .5, for any mean of the value."""
    frame = pandas.DataFrame({"id": ["a", "b", "c"], "y": [-1.0, 0.2, 2.0]})
    found = skewed.predict(frame, "x", ["y"])["x"].tolist()
    codes = norm.ppf((np.arange(100) + 0.5) / 100)[60:]
    assert found[:2] == [0, 0]
    assert found[2] == pytest.approx(np.interp(1.6, codes, np.sort(SKEWED[60:])), rel=1e-4)
    drawn = skewed.predict(frame, "x", ["y"], draws=40, steps=20)["x"].tolist()
    assert drawn[1] > 0.3, "the mean of draws is not that of the values"


def test_shared_values_have_no_log_density_and_a_warning_counts_them(skewed):
    """Between two values of training rows, the density is that of the code times the slope between them."""
    known = np.sort(SKEWED[60:])
    codes = norm.ppf((np.arange(100) + 0.5) / 100)[60:]
    value = 0.25 * known[20] + 0.75 * known[21]
    frame = pandas.DataFrame({"id": ["a", "b"], "x": [0.0, value], "y": [0.5, 0.5]})
    with pytest.warns(CohortWarning, match=r"logp\[x\]: 1 of 2 values are shared by training rows.*are empty"):
        found = skewed.log_likelihood(frame, "x", ["y"], evaluations=64)["logp[x]"]
    code = 0.25 * codes[20] + 0.75 * codes[21]
    slope = (codes[21] - codes[20]) / (known[21] - known[20])
    assert math.isnan(found[0])
    assert found[1] == pytest.approx(norm.logpdf(code, 0.4, 0.6) + math.log(slope), abs=0.4)


def test_an_error_of_a_quantile_code_depends_on_the_value(skewed):
    assert skewed._reader.given("x", torch.tensor([3.0]).double(), sd=2.0).sd == pytest.approx(
        float(skewed.codecs["x"].code_sd(torch.tensor([3.0]).double(), 2.0))
    )
    drawn = skewed.sample(500, {"x": "3±0.2"}, steps=10)["x"].double()
    assert abs(float(drawn.median()) - 3) < 0.3 and 0.02 < float(drawn.std()) < 1


def test_numbers_far_beyond_the_training_rows_are_unusual(skewed):
    frame = pandas.DataFrame({"id": ["a", "b"], "x": [0.0, 400.0], "y": [0.0, 0.0]})
    found = skewed.unusual(frame, ["x"])
    assert [one.row for one in found] == [1] and found[0].probability < 1e-3


def test_a_wrong_value_is_found(model, frame, truth):
    wrong = frame.copy()
    wrong.loc[3, "s2"] = -float(truth["s2"][3]) * 3 - 4
    found = model.log_likelihood(wrong, ["s2"], evaluations=8)["logp[s2]"]
    assert found.astype(float).idxmin() == 3
    (worst, *_) = model.unusual(wrong, MIXTURE.names)
    assert (worst.row, worst.variable) == (3, "s2") and worst.probability < 1e-6
    assert len(model.unusual(frame, ["s1", "five"])) <= 1
