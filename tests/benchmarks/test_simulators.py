"""Reference draws of the tasks against their simulators and closed forms."""

import json
import math
import os

import numpy as np
import pytest

from benchmarks.grid_simulators import _on_grid
from benchmarks.sbi_tasks import AIMS, PUBLISHED, STEPS, TASKS, questions, scores_of

REPEATS, DRAWS, Z = 60, 100, 4.5


def asked(task, kind, repeats, seed=0):
    """Simulated rows, what is given of each, and reference draws."""
    rng = np.random.default_rng(seed)
    row = task.simulate(rng, repeats)
    for place in range(repeats):
        given = {name: float(row[name][place]) for name in task.data}
        if kind == "any":
            chosen = rng.random(len(task.names)) < rng.choice([0.0, 0.3, 0.7])
            given = {name: float(row[name][place]) for name, is_in in zip(task.names, chosen, strict=True) if is_in}
        if len(given) < len(task.names):
            yield {name: float(row[name][place]) for name in task.names}, given, task.reference(rng, given, DRAWS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(*one, marks=[pytest.mark.slow] * (one[0] in ("slcp", "tree")))
        for one in (*AIMS, ("gaussian_linear", "any"), ("tree", "posterior"), ("hmm", "posterior"))
    ],
)
def test_the_truth_ranks_uniformly_among_reference_draws(name, kind):
    """Simulation-based calibration (Talts et al. 2018): mean and variance of ranks of the simulated values."""
    ranks = {}
    for truth, given, drawn in asked(TASKS[name], kind, REPEATS):
        assert set(drawn) == set(TASKS[name].names) - set(given)
        for variable, values in drawn.items():
            assert values.shape == (DRAWS,)
            ranks.setdefault(variable, []).append(float((values < truth[variable]).mean()))
    for variable, found in ranks.items():
        error = math.sqrt(1 / 12 / len(found))
        assert abs(np.mean(found) - 0.5) < Z * error, variable
        # The variance of the squared distance of a uniform number from 1/2 is 1/180.
        spread = np.mean((np.array(found) - 0.5) ** 2)
        assert abs(spread - 1 / 12) < Z * math.sqrt(1 / 180 / len(found)) + 1 / DRAWS, variable


def test_gaussian_linear_is_its_closed_form():
    task, rng = TASKS["gaussian_linear"], np.random.default_rng(0)
    drawn = task.reference(rng, {"x1": 0.6, "theta2": -0.4}, 20_000)
    assert set(drawn) == set(task.names) - {"x1", "theta2"}
    for name, mean, variance in (("theta1", 0.3, 0.05), ("x2", -0.4, 0.1), ("theta3", 0.0, 0.1), ("x3", 0.0, 0.2)):
        assert abs(drawn[name].mean() - mean) < Z * math.sqrt(variance / 20_000)
        assert drawn[name].var() == pytest.approx(variance, rel=0.05)


def test_two_moons_are_two_crescents_alike():
    drawn = TASKS["two_moons"].reference(np.random.default_rng(0), {"x1": -0.2, "x2": 0.1}, 4000)
    first, second = drawn["theta1"], drawn["theta2"]
    across = -0.2 + np.abs(first + second) / math.sqrt(2) - 0.25
    along = 0.1 - (second - first) / math.sqrt(2)
    radius = np.hypot(across, along)
    assert abs(radius.mean() - 0.1) < Z * 0.01 / math.sqrt(4000)
    assert radius.std() == pytest.approx(0.01, rel=0.06)
    assert (across > 0).all() and (np.abs([first, second]) <= 1).all()
    assert abs((first + second > 0).mean() - 0.5) < Z * 0.5 / math.sqrt(4000)


def test_slcp_knows_squares_by_their_size_alone():
    """theta3 and theta4 enter squared: both signs are as likely; four points tell little of each."""
    task, rng = TASKS["slcp"], np.random.default_rng(3)
    row = {name: float(value[0]) for name, value in task.simulate(rng, 1).items()}
    drawn = task.reference(rng, {name: row[name] for name in task.data}, 4000)
    assert len(np.unique(drawn["theta3"])) == 4000, "draws are not repeated"
    for name in ("theta3", "theta4"):
        assert abs((drawn[name] > 0).mean() - 0.5) < Z * 0.5 / math.sqrt(4000)
    assert (np.abs(list(drawn.values())) <= 3).all()


def test_only_what_has_an_exact_answer_is_answered():
    with pytest.raises(ValueError, match="x1, x2"):
        TASKS["two_moons"].reference(np.random.default_rng(0), {"x1": 0.0}, 5)


def test_draws_from_a_grid_have_its_shares():
    """Two densities at once: each row draws from its own."""
    weights = np.log(np.array([[1.0, 2.0, 1.0], [3.0, 1e-9, 1.0]]))
    rows = np.repeat([0, 1], 10_000)
    place, value = _on_grid(np.random.default_rng(0), np.array([0.0, 1.0, 2.0]), weights, rows)
    for row, shares in enumerate(((0.25, 0.5, 0.25), (0.75, 0.0, 0.25))):
        found = np.bincount(place[rows == row], minlength=3) / 10_000
        assert found == pytest.approx(shares, abs=Z * 0.5 / 100)
    assert (np.abs(value - place) <= 0.5).all()


def test_questions_are_posteriors_or_every_kind_of_set():
    task = TASKS["tree"]
    assert all(set(given) == set(task.data) for given in questions(task, "posterior", 3))
    sets = [frozenset(given) for given in questions(task, "any", 60)]
    assert {frozenset(), frozenset(task.data), frozenset(task.parameters)} < set(sets)
    assert len(set(sets)) > 10
    assert all(len(given) < len(task.names) for given in sets)


@pytest.mark.parametrize("name", ["gaussian_linear", "gaussian_mixture", "two_moons", "slcp"])
def test_posteriors_are_asked_of_the_published_observations_first(name):
    task = TASKS[name]
    published = task.observations()
    asked_for = list(questions(task, "posterior", 11))
    assert len(published) == 10 and asked_for[:10] == published
    assert all(set(given) == set(task.data) for given in asked_for) and asked_for[10] not in published
    assert list(questions(task, "posterior", 3)) == published[:3]


def test_random_sets_of_slcp_give_points_whole():
    sets = [frozenset(given) for given in questions(TASKS["slcp"], "any", 60)]
    assert all(len({"x1", "x2"} & given) in (0, 2) and len({"x7", "x8"} & given) in (0, 2) for given in sets)
    assert any(0 < len({"x1", "x3", "x5", "x7"} & given) < 4 for given in sets)


def test_published_figures_stand_beside_every_aim():
    assert set(AIMS) == set(PUBLISHED) and {name for name, _ in AIMS} == set(STEPS) == set(TASKS)
    assert all(0.5 <= best <= simformer for simformer, best, _ in PUBLISHED.values())


def test_scores_are_kept_for_the_weights_that_were_asked_and_no_others(tmp_path):
    record, weights, settings = tmp_path / "tree-any.json", tmp_path / "model.safetensors", {"draws": 100, "steps": 5}
    weights.touch()
    assert scores_of(record, weights, settings) == []
    record.write_text(json.dumps({"c2st": [0.5, 0.6], "published": 0, **settings}))
    assert scores_of(record, weights, settings) == [0.5, 0.6]
    assert scores_of(record, weights, {**settings, "draws": 200}) == []
    trained_again = record.stat().st_mtime + 1
    os.utime(weights, (trained_again, trained_again))
    assert scores_of(record, weights, settings) == []
