"""Settings of sampling, posterior means and draws in batches, and cells of a table from codes."""

import math
from functools import partial
from pathlib import Path

import exact_pair
import pytest
import torch

from metavoxel.errors import EvidenceError
from metavoxel.inference.sampling import sampling_of
from metavoxel.inference.summaries import category_labels, draw_cells, mean_cells
from metavoxel.parts.codecs.identity import IdentitySpec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.conformance.modules import at_generic_weights
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.sampling import conditional
from metavoxel.sampling.conditioning import Clean, Replace
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.guidance import guided
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling, check_conditioning
from metavoxel.sampling.smc import particle_trajectory
from metavoxel.sampling.solvers import DDIM, DPMSolver2M
from metavoxel.sampling.times import uniform_grid
from metavoxel.sampling.trajectory import sample_trajectory
from metavoxel.schema import parse_schema

DDIM_TRAJECTORY = partial(sample_trajectory, solver=DDIM(0.5), conditioning=Clean())


@pytest.mark.parametrize(
    ("settings", "trajectory"),
    [
        ({}, partial(sample_trajectory, solver=DPMSolver2M(), conditioning=Clean())),
        ({"solver": "ddim", "eta": 0.5}, DDIM_TRAJECTORY),
        (
            {"solver": "ddim", "conditioning": "replace"},
            partial(sample_trajectory, solver=DDIM(), conditioning=Replace()),
        ),
        (
            {"conditioning": "repaint", "resamplings": 3, "jump": 2},
            partial(sample_trajectory, solver=DPMSolver2M(), conditioning=Replace(3, 2)),
        ),
        (
            {"eta": 1.0, "conditioning": "smc", "particles": 4},
            partial(particle_trajectory, particles=4, solver=DPMSolver2M(1.0)),
        ),
        (
            {"solver": "ddim", "eta": 1.0, "conditioning": "smc", "particles": 4},
            partial(particle_trajectory, particles=4, solver=DDIM(1.0)),
        ),
        ({"eta": 0.7}, partial(sample_trajectory, solver=DPMSolver2M(0.7), conditioning=Clean())),
        (
            {"solver": "ddim", "eta": 0.5, "guidance": 2.0},
            lambda denoiser, pair, grid: DDIM_TRAJECTORY(guided(denoiser, pair, 2.0), pair, grid),
        ),
    ],
)
def test_settings_give_the_trajectory_of_their_solver_and_conditioning(settings, trajectory):
    sampling, grid = Sampling(**settings), uniform_grid(6)
    assert not sampling.problems()

    def nonlinear(states, times, observed):
        """Return a function of both states, row by row."""
        return {name: torch.tanh(states["x"] - 2 * states["y"]) * (1 - 0.2 * observed["y"]) for name in states}

    pair = exact_pair.question(5, "by name")
    found = exact_pair.last_of(sampling.trajectory(nonlinear, pair, grid, soft_end=False))
    assert torch.equal(found["x"], exact_pair.last_of(trajectory(nonlinear, pair, grid))["x"])


SMC = {"conditioning": "smc", "eta": 1.0}
DENSITY = "conditioning 'smc' weights particles by densities of ancestral steps"


def test_models_with_one_shared_time_have_the_papers_defaults():
    paper = sampling_of({}, shared_time=True)
    assert (paper.steps, paper.solver, paper.eta) == (50, "ddim", 0)
    assert (paper.grid, paper.conditioning) == ("uniform", "replace")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"solver": "euler"}, "solver: 'euler' is not one of dpmpp_2m, ddim"),
        ({"conditioning": "clear"}, "conditioning: 'clear' is not one of clean, replace, repaint, smc"),
        ({"grid": "karras"}, "grid: 'karras' is not one of log_snr, uniform"),
        ({"steps": 0}, "steps: must be at least 1, not 0"),
        ({"eta": 2.0, "solver": "ddim"}, "eta: must be between 0 and 1, not 2.0"),
        (
            {**SMC, "particles": 1},
            "particles: conditioning 'smc' needs at least 2 particles (64 are usual), not 1",
        ),
        ({"conditioning": "smc"}, f"eta: {DENSITY}: use eta 1, not 0.0"),
        ({**SMC, "eta": 0.5}, f"eta: {DENSITY}: use eta 1, not 0.5"),
        ({"guidance": -1.5}, "guidance: must be at least -1 (the marginal; 0 is off), not -1.5"),
        ({"guidance": float("nan")}, "guidance: must be at least -1 (the marginal; 0 is off), not nan"),
        (
            {"guidance": 1.0, "conditioning": "repaint"},
            "guidance: needs estimates without the evidence, which conditioning 'repaint' cannot give: use 'clean', or "
            "omit guidance",
        ),
    ],
)
def test_settings_that_are_refused(settings, problem):
    # Past the runtime type check, which refuses unknown names
    sampling = object.__new__(Sampling)
    for name, value in {**Sampling().__dict__, **settings}.items():
        object.__setattr__(sampling, name, value)
    assert [str(found) for found in sampling.problems()] == [problem]


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        ({"particles": 64}, ["particles: has no effect with conditioning 'clean': use 'smc', or omit it"]),
        (
            {"conditioning": "smc", "eta": 1.0, "resamplings": 3, "jump": 2},
            [
                f"{name}: has no effect with conditioning 'smc': use 'repaint', or omit it"
                for name in ("resamplings", "jump")
            ],
        ),
        (
            {"conditioning": "repaint", "resamplings": 1, "jump": 2},
            ["jump: has no effect with one pass: use resamplings above 1, or omit it"],
        ),
        ({"conditioning": "repaint", "resamplings": 2, "jump": 2}, []),
        ({**SMC, "particles": 4, "grid": "uniform"}, []),
    ],
)
def test_settings_without_effect(settings, problems):
    assert [str(problem) for problem in Sampling(**settings).idle(settings)] == problems


def test_clean_conditioning_needs_a_time_for_each_variable():
    check_conditioning("clean", shared_time=False)
    for name in ("replace", "repaint", "smc"):
        check_conditioning(name, shared_time=True)
    with pytest.raises(
        EvidenceError, match="conditioning: 'clean' needs a model trained with diffusion.times 'evidence'"
    ):
        check_conditioning("clean", shared_time=True)


SCHEMA = {
    "cohort": {"table": "subjects.csv"},
    "variables": {
        "scan": {"type": "image", "codec": "identity", "shape": [4, 6]},
        "age": {"type": "continuous"},
        "site": {"type": "categorical", "categories": ["a", "b", "c"]},
    },
    "backbone": {"type": "unet", "channels": [8, 16], "head_channels": 8, "token_width": 16},
}


def joint_of(raw):
    torch.manual_seed(0)
    schema = parse_schema(raw, folder=Path())
    return at_generic_weights(build_joint(schema, build_codecs(schema)))


@pytest.fixture(scope="module")
def joint():
    paper = {"type": "gaussian", "prediction": "epsilon", "schedule": {"type": "scaled_linear"}}
    raw = {**SCHEMA, "variables": {**SCHEMA["variables"], "age": {"type": "continuous", "kernel": paper}}}
    raw["variables"]["scan"] = {**raw["variables"]["scan"], "adapter": "grid"}
    return joint_of(raw)


def given_scans(rows):
    """Return evidence on one half of each scan."""
    known = torch.zeros(rows, 1, 4, 6, dtype=torch.bool)
    known[..., :3] = True
    return {"scan": Evidence(Rng.for_rows(rows, "scans").normal((rows, 1, 4, 6)), known)}


@pytest.mark.parametrize(
    "sampling",
    [Sampling(steps=2, particles=8, **SMC), Sampling(steps=2, guidance=1.0), Sampling(steps=2)],
    ids=["smc", "guided", "plain"],
)
def test_batches_are_bounded_and_do_not_change_draws(joint, sampling, monkeypatch):
    """At any number of particles, no call of the network has more rows than fit."""
    rows, seen = 5, []
    given = (
        given_scans(rows) if not sampling.guidance else {"age": Evidence(torch.ones(rows, 1), torch.ones(rows, 1) > 0)}
    )
    keys = row_streams(0, list("abcde"), 0)
    expected = sample_codes(joint, given, keys, sampling)
    watch = joint.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0]["age"])))
    monkeypatch.setattr(conditional, "CELLS_PER_BATCH", 3 * (24 + 1 + 3))
    found = sample_codes(joint, given, keys, sampling)
    watch.remove()
    assert max(seen) <= 3
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-4)


def test_a_prediction_of_noise_does_not_determine_the_posterior_mean(joint):
    """For this variable; the others have one."""
    keys = row_streams(0, ["a", "b"], 0)
    with pytest.raises(EvidenceError, match="age: its kernel 'gaussian' predicts the noise.*Use `draws=1` or more"):
        posterior_mean(joint, given_scans(2), keys, evaluations=1)
    means = posterior_mean(joint, given_scans(2), keys, evaluations=1, names=["site"])
    assert list(means) == ["site"]
    torch.testing.assert_close(means["site"].sum(1), torch.ones(2))
    age = {"age": Evidence(torch.ones(2, 1), torch.ones(2, 1, dtype=torch.bool))}
    assert list(posterior_mean(joint, age, keys, evaluations=1)) == ["scan", "site"]


def test_streams_depend_on_seed_row_and_draw():
    keys = row_streams(0, ["a", "b"], 0).keys
    assert torch.equal(row_streams(0, ["b", "a"], 0).keys, keys.flip(0))
    others = [row_streams(1, ["a"], 0), row_streams(0, ["a"], 1), row_streams(0, ["c"], 0)]
    assert len({int(keys[0]), *(int(other.keys[0]) for other in others)}) == 4


LABELS = CategoricalSpec(categories={"male": 1, "female": 2, "other": 3})
SITES = OneHotSpec(categories=3).build(())
AGE, CODEC = ContinuousSpec(), LinearSpec(scale="range", range=(0, 100)).build(())


def test_a_category_has_its_most_probable_label_and_all_probabilities():
    assert category_labels(LABELS, SITES) == ["male", "female", "other"]
    cells = mean_cells("sex", LABELS, SITES, torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]]))
    assert [row["sex"] for row in cells] == ["female", "male"]
    assert list(cells[0]) == ["sex", "sex_p[male]", "sex_p[female]", "sex_p[other]"]
    assert cells[0]["sex_p[female]"] == pytest.approx(0.5)


def test_a_mean_has_no_spread():
    (cells, _) = mean_cells("age", AGE, CODEC, torch.tensor([[-0.5], [0.5]]))
    assert cells.pop("age") == 25.0 and set(cells) == {"age_sd", "age_p05", "age_p95"}
    assert all(math.isnan(cell) for cell in cells.values())


def test_draws_are_averaged_in_data_space():
    draws = [torch.tensor([[code]]) for code in (-0.4, 0.0, 0.7)]
    (cells,) = draw_cells("age", AGE, CODEC, draws)
    assert list(cells) == ["age", "age_sd", "age_p05", "age_p95"]
    assert cells["age"] == pytest.approx(55) and cells["age_sd"] == pytest.approx(27.8388, abs=1e-3)
    logarithm = LinearSpec(scale="range", range=(1, 100), transform="log").build(())
    (cells,) = draw_cells("age", AGE, logarithm, [torch.tensor([[-1.0]]), torch.tensor([[1.0]])])
    assert cells["age"] == pytest.approx(50.5), "not the mean of the numbers"
    (cells,) = mean_cells("age", AGE, logarithm, torch.tensor([[0.0]]))
    assert cells["age"] == pytest.approx(10), "not the geometric mean, which is that in code space"


def test_one_draw_has_no_spread():
    (cells,) = draw_cells("age", AGE, CODEC, [torch.tensor([[0.0]])])
    assert cells.pop("age") == 50.0 and set(cells) == {"age_sd", "age_p05", "age_p95"}
    assert all(math.isnan(cell) for cell in cells.values())


def test_quantiles_need_twenty_draws():
    """Weibull's plotting positions: of 20 numbers, the 5 % quantile has rank 1.05."""
    codes = [torch.tensor([[number / 50 - 1]]) for number in range(1, 21)]
    (cells,) = draw_cells("age", AGE, CODEC, codes)
    assert cells["age_p05"] == pytest.approx(1.05) and cells["age_p95"] == pytest.approx(19.95)
    (cells,) = draw_cells("age", AGE, CODEC, codes[:-1])
    assert math.isnan(cells["age_p05"]) and math.isnan(cells["age_p95"]) and cells["age_sd"] > 0


def test_the_median_of_draws():
    codes = [torch.tensor([[code]]) for code in (-0.4, 0.0, 0.9)]
    (cells,) = draw_cells("age", AGE, CODEC, codes, point="median")
    assert cells["age"] == 50


def test_draws_of_a_category_average_their_probabilities():
    draws = [torch.tensor([row]) for row in ([0.5, 0.3, 0.2], [0.1, 0.5, 0.4])]
    (cells,) = draw_cells("sex", LABELS, SITES, draws)
    assert cells["sex"] == "female" and cells["sex_p[male]"] == pytest.approx(0.3)


def test_votes_determine_the_label_and_probability_breaks_ties():
    draws = [torch.tensor([[0.2, 0.5, 0.3]])] * 4
    (cells,) = draw_cells("sex", LABELS, SITES, draws, votes=torch.tensor([[0], [0], [2], [1]]))
    assert cells["sex"] == "male" and cells["sex_p[female]"] == pytest.approx(0.5)
    (cells,) = draw_cells("sex", LABELS, SITES, draws, votes=torch.tensor([[0], [0], [2], [2]]))
    assert cells["sex"] == "other"


def test_an_image_has_a_description_as_its_cell():
    codec, spec = IdentitySpec().build((1, 4, 6)), ImageSpec(shape=(4, 6))
    code = torch.zeros(2, 1, 4, 6)
    assert mean_cells("scan", spec, codec, code)[1] == {"scan": "image of 4x6 voxels"}
    assert draw_cells("scan", spec, codec, [code, code])[0] == {"scan": "image of 4x6 voxels"}
