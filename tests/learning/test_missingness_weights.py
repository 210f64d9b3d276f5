"""Inverse-probability weights: exact question probabilities, and balance of weighted rows with the population."""

import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from tiny_cohorts import BACKBONE, TABLE, write_schema, write_table
from tiny_runs import assert_same_weights, leave, refused, train

from metavoxel.cohort.read import read_cohort
from metavoxel.errors import SchemaError
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.missingness_weights import (
    MissingWeights,
    missing_lines,
    missing_weights,
    question_distribution,
    question_probability,
)
from metavoxel.learning.objective import corrupt, loss_sums
from metavoxel.learning.time_sampling import PURE_NOISE_SHARE, RowTimes, evidence_times
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint, load
from metavoxel.schema import load_schema, parse_schema
from metavoxel.testing import MixtureOracle

Z = 5.0


def sets(variables):
    """Yield all pairs of clean and noisy masks."""
    for states in itertools.product("cn1", repeat=variables):
        yield torch.tensor([s == "c" for s in states]), torch.tensor([s == "n" for s in states])


def test_question_distribution_matches_sampled_times():
    """Frequencies of single questions, for complete and incomplete rows."""
    rows = 40_000
    for present in ((True, True, True, True), (True, False, True, True), (False, False, True, False)):
        here = torch.tensor(present)
        drawn = evidence_times(here.expand(rows, 4), Rng.for_rows(rows, "law", *map(int, present)))
        distribution, n = question_distribution(4), int(here.sum())
        total = 0.0
        for clean, noisy in sets(4):
            if ((clean | noisy) & ~here).any():
                continue
            found = ((drawn.observed == clean) & (((drawn.t > 0) & (drawn.t < 1)) == noisy)).all(1).double().mean()
            share = PURE_NOISE_SHARE if not noisy.any() else 1 - PURE_NOISE_SHARE
            expected = float(distribution[n, clean.sum(), noisy.sum()]) * share
            total += expected
            assert abs(float(found) - expected) <= Z * math.sqrt(expected * (1 - expected) / rows)
        assert math.isclose(total, 1.0)


def test_question_probability_is_the_sum_over_missingness_patterns():
    presence = torch.tensor([[0.3, 1.0, 0.8, 0.55]], dtype=torch.float64)
    distribution = question_distribution(4)
    for clean, noisy in sets(4):
        found = question_probability(presence, clean[None], noisy[None], distribution)[0]
        for target in range(4):
            expected = 0.0
            for pattern in itertools.product((True, False), repeat=4):
                here = torch.tensor(pattern)
                if here[target] and not ((clean | noisy) & ~here).any():
                    chance = torch.where(here, presence[0], 1 - presence[0]).prod()
                    expected += float(chance * distribution[here.sum(), clean.sum(), noisy.sum()])
            assert math.isclose(float(found[target]), expected, abs_tol=1e-12)


@pytest.fixture(scope="module")
def questions():
    """Sample rows whose w determines the presence of other variables, with their questions and exact weights."""
    rows = 120_000
    w = Rng.for_rows(rows, "w").normal((rows,), dtype=torch.float64)
    presence = torch.stack([torch.ones_like(w), torch.ones_like(w), torch.sigmoid(w + 1), torch.sigmoid(0.5 - w)], 1)
    present = Rng.for_rows(rows, "present").uniform((rows, 4), dtype=torch.float64) < presence
    weights = MissingWeights(["w", "always", "up", "down"], ["w"], presence, present, torch.arange(rows), 0)
    weights.bound = torch.full((4,), torch.inf, dtype=torch.float64)
    times = evidence_times(present, Rng.for_rows(rows, "times"))
    of = weights.of(torch.arange(rows), {name: times.t[:, index] for index, name in enumerate(weights.names)})
    return w, present, times, of


def test_weighted_rows_of_every_question_match_the_population(questions):
    """For all targets, evidence and noisy variables, w has the population's mean 0 and variance 1."""
    w, present, times, of = questions
    noisy = (times.t > 0) & (times.t < 1)
    checked, biased = 0, 0
    for clean, between in sets(4):
        here = (times.observed == clean).all(1) & (noisy == between).all(1)
        for index, weight in enumerate(of.values()):
            group = here & present[:, index] & ~times.observed[:, index]
            if clean[0] or group.sum() < 300:
                continue
            x, a = w[group], weight[group] / weight[group].mean()
            for value, truth in ((x, 0.0), (x.square(), 1.0)):
                error = float((a * (value - truth)).std()) / math.sqrt(len(x))
                assert abs(float((a * (value - truth)).mean())) < Z * error, (clean, between, index)
            checked += 1
            biased += abs(float(x.mean())) > Z * float(x.std()) / math.sqrt(len(x))
    assert checked > 40 and biased > checked / 2, "without weights most questions have biased rows"


def test_weights_are_1_if_the_predictors_of_presence_are_evidence(questions):
    w, present, times, of = questions
    for weight in of.values():
        assert (weight[times.observed[:, 0]] == 1).all()
        assert not (weight[~times.observed[:, 0]] == 1).all()


def write_gaps(folder, gap, rows=240):
    """Write ``people.csv`` as :func:`write_table` does, without the cells (age, sex, score) marked by ``gap``."""
    draw = random.Random(1)
    lines = ["participant_id,Age,Sex,score"]
    for row in range(rows):
        age = draw.gauss(45, 10)
        cells = [f"{age:.2f}", str(draw.choice((1, 2))), f"{2 * age + draw.gauss(0, 3):.3f}"]
        lines.append(
            ",".join([f"s{row}", *("n/a" if cut else c for c, cut in zip(cells, gap(draw, row, age), strict=True))])
        )
    (folder / "people.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def mostly(draw, row, age):
    """Mark nine scores of ten as missing."""
    return False, draw.random() < 0.2, row % 10 != 0


def at_random(draw, row, age):
    """Mark scores as missing at random given age, and sex as missing completely at random."""
    return False, draw.random() < 0.3, draw.random() < 1 / (1 + math.exp((age - 45) / 4))


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == "joint"]


@pytest.mark.slow
def test_a_variable_missing_in_nine_rows_of_ten_is_learnt(tmp_path):
    """It is predicted far better than by its mean, in validation rows and in new rows."""
    write_gaps(tmp_path, mostly)
    training = {"steps": 600, "batch_size": 32, "validate_every": 200, "learning_rate": 3e-3, "weight_decay": 0.0}
    backbone = {**BACKBONE, "dropout": 0.0}
    train(write_schema(tmp_path, TABLE, training=training, backbone=backbone), tmp_path / "run")
    assert metrics(tmp_path / "run")[-1]["validation/score"] < 0.85, "half of the losses are not conditioned on age"
    model = load(tmp_path / "run")
    ages = np.linspace(30, 60, 7)
    frame = pandas.DataFrame({"participant_id": [f"new{row}" for row in range(7)], "Age": ages})
    predicted = model.predict(frame, "score", ["age"])["score"].to_numpy(float)
    assert np.abs(predicted - 2 * ages).mean() < 6, "a fifth of the standard deviation of scores is 4"
    report = json.loads((tmp_path / "run" / "run.json").read_text())["missing"]
    assert abs(report["score"]["missing"] - 0.9) < 0.03 and "age" not in report


def test_rows_with_a_single_datum_train(tmp_path):
    """All variables but one are missing in training and validation rows, so no row has predictors."""
    write_gaps(tmp_path, lambda draw, row, age: tuple(row % 3 != place for place in range(3)), rows=60)
    split = {"split": {"train": 0.5, "validation": 0.4, "test": 0.1}}
    train(write_schema(tmp_path, TABLE, cohort=split), tmp_path / "run")
    last = metrics(tmp_path / "run")[-1]
    assert all(math.isfinite(last[f"{part}{name}"]) for part in ("", "validation/") for name in ("age", "sex", "score"))


def test_variables_without_validation_rows_are_omitted_from_the_score(tmp_path):
    write_table(tmp_path, missing=False)
    header, *rows = (tmp_path / "people.csv").read_text().splitlines()
    parts = ["train" if place < 30 else "validation" for place in range(len(rows))]
    rows = [row if part == "train" else row.rsplit(",", 1)[0] + ",n/a" for row, part in zip(rows, parts, strict=True)]
    lines = [header + ",part", *(f"{row},{part}" for row, part in zip(rows, parts, strict=True))]
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
    split = {"split": {"column": "part", "train": 0.8, "validation": 0.2, "test": 0}}
    train(write_schema(tmp_path, TABLE, cohort=split), tmp_path / "run")
    last = metrics(tmp_path / "run")[-1]
    assert "score" in last and "validation/score" not in last
    assert 0 < json.loads((tmp_path / "run" / "run.json").read_text())["best_score"] < 3


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weighted")
    write_gaps(folder, at_random, rows=400)
    schema = write_schema(folder, TABLE, training={"missing_weights": ["age"]})
    train(schema, folder / "run")
    return schema, folder / "run"


def test_the_report_identifies_mar_variables(weighted):
    """The AUC is high for scores, missing given age, and near .5 for sex, missing completely at random."""
    _, run = weighted
    report = json.loads((run / "run.json").read_text())["missing"]
    assert set(report) == {"age", "sex", "score"} and report["age"]["missing"] == 0 and "auc" not in report["age"]
    assert report["score"]["auc"] > 0.8 and abs(report["sex"]["auc"] - 0.5) < 3 * report["sex"]["auc_sd"]
    assert report["score"]["largest_weight"] >= report["score"]["clipped_at"] > 1.5
    assert 0.1 < report["score"]["effective_share"] < report["sex"]["effective_share"] <= 1
    lines = list(missing_lines(report))
    assert len(lines) == 3 and "score: missing in" in lines[2] and "effective share" in lines[2]
    unweighted = {
        name: {k: v for k, v in found.items() if k in ("missing", "auc", "auc_sd")} for name, found in report.items()
    }
    lines = list(missing_lines(unweighted))
    assert [("consider training.missing_weights" in line) for line in lines] == [False, False, True]


def test_fitted_presence_probabilities_are_near_the_truth(weighted):
    """Weights of the marginal of the score are proportional to the inverse presence probability given age."""
    schema = load_schema(weighted[0])
    cohort = read_cohort(schema.specs, schema.cohort, folder=schema.folder)
    ages = cohort.columns["age"].read(torch.arange(len(cohort))).double()
    code = ((ages - ages.mean()) / ages.std())[:, None, None].float()
    caches = {
        name: LatentCache(cohort.columns[name].present, code if name == "age" else torch.zeros(400, 1, 1))
        for name in TABLE["variables"]
    }
    weights = missing_weights(schema, cohort, caches)
    rows = cohort.parts["train"]
    score = weights.of(rows, {name: torch.ones(len(rows), dtype=torch.float64) for name in caches})["score"]
    truth = 1 / (1 - torch.sigmoid((45 - ages[rows]) / 4))
    middle = (ages[rows] > 40) & (ages[rows] < 55)
    ratio = (score / truth)[middle]
    assert float(ratio.std() / ratio.mean()) < 0.12 < float(truth[middle].std() / truth[middle].mean())
    assert (score <= weights.bound[2]).all()


def test_weights_multiply_the_loss_and_not_its_count():
    """Missing cells contribute nothing, even with NaN weights."""
    torch.manual_seed(0)
    schema = parse_schema(TABLE, folder=Path())
    joint, rows = build_joint(schema, build_codecs(schema)), 6
    present = torch.arange(rows) % 3 > 0
    codes = {
        "age": torch.ones(rows, 1, 1),
        "sex": torch.eye(2)[torch.arange(rows) % 2][:, None],
        "score": torch.ones(rows, 1, 1),
    }
    caches = {name: LatentCache(present if name == "age" else present | True, codes[name]) for name in codes}
    times = RowTimes(torch.full((rows, 3), 0.5, dtype=torch.float64), torch.zeros(rows, 3, dtype=torch.bool))
    corrupted = corrupt(
        joint, caches, torch.arange(rows), times, Rng.for_rows(rows, "rows"), device=torch.device("cpu")
    )
    predictions = joint(corrupted.states, corrupted.times, corrupted.observed)
    doubled = {name: torch.full((rows,), 2.0, dtype=torch.float64) for name in codes}
    doubled["age"] = torch.where(present, doubled["age"], torch.nan)
    plain, weighted = loss_sums(joint, predictions, corrupted), loss_sums(joint, predictions, corrupted, doubled)
    for name, (total, count) in weighted.items():
        torch.testing.assert_close(total, 2 * plain[name][0])
        assert count == plain[name][1] == (4 if name == "age" else 6)


@pytest.mark.slow
def test_an_interrupted_weighted_training_resumes_to_the_same_weights(weighted, tmp_path):
    schema, run = weighted
    leave(schema, tmp_path / "run", "joint", 13)
    train(schema, tmp_path / "run", resume=True)
    assert_same_weights(run, tmp_path / "run")
    train(write_schema(schema.parent, TABLE, name="plain.yaml"), tmp_path / "plain")
    with pytest.raises(AssertionError):
        assert_same_weights(run, tmp_path / "plain")


def test_invalid_predictors_of_presence_are_reported_together(tmp_path):
    write_gaps(tmp_path, at_random, rows=60)
    settings = {"missing_weights": ["agee", "score", "age", "age"]}
    message = refused(SchemaError, write_schema(tmp_path, TABLE, training=settings), tmp_path / "run")
    assert "training.missing_weights: no variable 'agee'. Did you mean 'age'?" in message
    assert "'score' is itself missing in" in message and "'age' is repeated" in message
    assert "Always present in the training rows: age" in message
    shared = {"diffusion": {"times": "shared"}, "training": {"missing_weights": ["age"]}}
    message = refused(SchemaError, write_schema(tmp_path, TABLE, **shared), tmp_path / "other")
    assert (
        message
        == "training.missing_weights: diffusion.times 'shared' drops incomplete rows; use 'evidence', or leave it out"
    )


@pytest.mark.slow
def test_weighted_marginals_are_unbiased_under_mar(tmp_path):
    """The joint is exact; s1 and s3 are missing at random given s4. Without weights their means are biased."""
    oracle, rows = MixtureOracle.default(), 8000
    drawn = {name: value.double() for name, value in oracle.sample(Rng.for_rows(rows, "mar")).items()}
    names = ("s1", "s3", "s4")
    uniform = Rng.for_rows(rows, "mar gaps").uniform((rows, 2), dtype=torch.float64)
    gaps = {name: uniform[:, index] < torch.sigmoid(1.5 * drawn["s4"]) for index, name in enumerate(names[:2])}
    table = pandas.DataFrame({name: drawn[name].numpy() for name in names})
    for name, gap in gaps.items():
        table.loc[gap.numpy(), name] = np.nan
    table.insert(0, "participant_id", [f"s{row}" for row in range(rows)])
    table.to_csv(tmp_path / "people.csv", index=False)
    raw = {
        "cohort": {"table": "people.csv", "split": {"train": 0.9, "validation": 0.1, "test": 0}},
        "variables": {name: {"type": "continuous"} for name in names},
        "backbone": {**BACKBONE, "width": 32, "heads": 4, "dropout": 0.0},
        "training": {"steps": 600, "batch_size": 128, "validate_every": 200, "learning_rate": 2e-3},
    }
    errors = {}
    frame = pandas.DataFrame({"participant_id": ["someone"]})
    for method, given in (("plain", []), ("weighted", ["s4"])):
        schema = write_schema(tmp_path, raw, name=f"{method}.yaml", training={"missing_weights": given})
        train(schema, tmp_path / method)
        means = load(tmp_path / method).predict(frame, ["s1", "s3"], [])
        errors[method] = [abs(float(means[name][0]) - float(oracle.given({}).mean(name)[0])) for name in ("s1", "s3")]
    assert max(errors["weighted"]) < 0.05 and min(errors["plain"]) > 0.15, errors
