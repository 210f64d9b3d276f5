"""Reports of a grammar with known probabilities: trained, drawn given age, and age given a report."""

import math
import warnings

import metavoxel_absorbing
import metavoxel_text
import numpy as np
import pandas
import pytest

import metavoxel as mv
from metavoxel.errors import CohortError, CohortWarning, EvidenceError, SchemaError

REGISTRY = mv.load_registry(plugins=[metavoxel_absorbing, metavoxel_text])
ROWS, DRAWS, Z = 300, 200, 5.0
SCHEMA = {
    "cohort": {"subject": "participant_id", "split": {"train": 0.6, "validation": 0.3, "test": 0.1}},
    "variables": {
        "report": {"type": "text", "tokens": 8, "vocabulary": 14},
        "age": {"type": "continuous", "range": [0, 110]},
        "sex": {"type": "categorical", "categories": ["F", "M"]},
    },
    "backbone": {"type": "transformer", "width": 32, "depth": 2, "dropout": 0.0},
    "training": {
        "steps": 400,
        "batch_size": 64,
        "learning_rate": 3e-3,
        "ema": 0.98,
        "warm_up": 20,
        "validate_every": 400,
    },
}


def report(age, sex, rng):
    """Draw a report: atrophy with probability .9 above an age of 60, else .1; the sex is always right."""
    person = "woman" if sex == "F" else "man"
    if rng.random() < (0.9 if age > 60 else 0.1):
        return f"{person} with {rng.choice(['mild', 'marked'])} atrophy."
    return f"{person} with normal cortex."


def cohort(rows, seed):
    rng = np.random.default_rng(seed)
    ages, sexes = rng.uniform(20, 100, rows).round(1), rng.choice(["F", "M"], rows)
    reports = [report(age, sex, rng) for age, sex in zip(ages, sexes, strict=True)]
    names = [f"{seed}-{row}" for row in range(rows)]
    return pandas.DataFrame({"participant_id": names, "report": reports, "age": ages, "sex": sexes})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CohortWarning)
        return mv.train(SCHEMA, tmp_path_factory.mktemp("run") / "run", table=cohort(ROWS, 0), registry=REGISTRY)


def z_score(right, chance=0.5):
    return (np.mean(right) - chance) / math.sqrt(chance * (1 - chance) / len(right))


@pytest.mark.slow
def test_a_report_given_age_and_sex_has_the_right_facts(model):
    atrophy, nouns = [], []
    for age, expected in ((30.0, False), (90.0, True)):
        for sex, person in (("F", "woman"), ("M", "man")):
            drawn = model.sample(DRAWS // 2, {"age": age, "sex": sex}).frame["report"]
            atrophy += [("atrophy" in text) == expected for text in drawn]
            nouns += [person in text.split() for text in drawn]
    assert z_score(atrophy) > Z and z_score(nouns) > Z


@pytest.mark.slow
def test_age_and_sex_given_a_report(model):
    table = cohort(DRAWS, 1)
    found = model.predict(table, ["age", "sex"], ["report"])
    assert z_score(found["sex"] == table["sex"]) > Z
    old = found["age"] > found["age"].mean()
    assert z_score(old == table["report"].str.contains("atrophy")) > Z


@pytest.mark.slow
def test_a_report_in_which_a_part_is_known(model):
    drawn = model.sample(4 * DRAWS, {"report": "[MASK] with marked [...]", "sex": "F"}).frame["report"]
    assert all(text.split()[1:3] == ["with", "marked"] for text in drawn)
    assert z_score([text.startswith("woman") for text in drawn]) > Z
    assert z_score(["marked atrophy" in text for text in drawn]) > Z
    whole = model.sample(2, {"report": "woman with marked atrophy."}).frame["report"]
    assert list(whole) == ["woman with marked atrophy."] * 2


@pytest.mark.slow
def test_the_likelihood_of_a_report_is_higher_with_the_right_sex(model):
    table = cohort(DRAWS, 2)
    other = table.assign(sex=table["sex"].map({"F": "M", "M": "F"}))
    right, wrong = (model.log_likelihood(each, "report")["logp[report]"] for each in (table, other))
    change = right - wrong
    assert change.mean() / (change.std() / math.sqrt(len(change))) > Z


@pytest.mark.slow
def test_a_report_is_predicted_by_draws_alone(model):
    table = cohort(3, 3)
    with pytest.raises(EvidenceError, match="'report' is of type 'text', which has no mean: use `draws=1` or more"):
        model.predict(table, "report")
    found = model.predict(table, "report", ["age", "sex"], draws=3)
    assert list(found.columns) == ["participant_id", "report"] and all(found["report"])


@pytest.mark.slow
def test_evidence_that_is_refused_or_warned_of(model):
    with pytest.raises(EvidenceError, match="is for images, and 'report' is of type 'text'"):
        model.sample(1, {"report": "woman"}, {"report": np.ones(128)})
    with pytest.raises(EvidenceError, match="more than 'tokens'"):
        model.sample(1, {"report": "5±2 " * 9})
    with pytest.warns(CohortWarning, match="4 of 5 words are not in the vocabulary of the training rows"):
        model.predict(cohort(1, 4).assign(report="woman has no such findings"), "age", "report")


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("a\x07b", "control character U\\+0007"),
        ("a\ufffdb", "left by text of another encoding"),
        ("one two three four five six seven eight nine", "has 9 tokens, more than 'tokens' \\(8\\)"),
        ("woman [MASK] atrophy", "stand for unknown words"),
    ],
)
def test_cells_that_cannot_be_read(tmp_path, cell, what):
    table = cohort(20, 5)
    table.loc[3, "report"] = cell
    with pytest.raises(CohortError, match=rf"row .*column report.*{what}"):
        mv.train(SCHEMA, tmp_path / "run", table=table, registry=REGISTRY)


def test_parts_that_do_not_suit_a_text(tmp_path):
    text = {**SCHEMA["variables"]["report"], "adapter": "token"}
    schema = {**SCHEMA, "variables": {**SCHEMA["variables"], "report": text}}
    with pytest.raises(SchemaError, match="adapter 'token' has no token for each word; use 'sequence'"):
        mv.train(schema, tmp_path / "run", table=cohort(20, 6), registry=REGISTRY)
