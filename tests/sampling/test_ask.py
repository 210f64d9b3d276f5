"""Settings of sampling, and what is made of codes in a table."""

import pytest
import torch

from metavoxel.codecs.identity import IdentitySpec
from metavoxel.codecs.linear import LinearSpec
from metavoxel.codecs.onehot import OneHotSpec
from metavoxel.errors import EvidenceError
from metavoxel.sampling.ask import PAPER_SAMPLING, Sampling, check_conditioning, row_streams
from metavoxel.sampling.conditioning import Clean, Replace
from metavoxel.sampling.predict import category_labels, draw_cells, mean_cells
from metavoxel.sampling.solvers import DDIM, DPMSolver2M
from metavoxel.variables.categorical import CategoricalSpec
from metavoxel.variables.continuous import ContinuousSpec
from metavoxel.variables.image import ImageSpec


@pytest.mark.parametrize(
    ("settings", "solver", "conditioning"),
    [
        ({}, DPMSolver2M, Clean),
        ({"solver": "ddim", "eta": 0.5}, DDIM, Clean),
        ({"conditioning": "replace"}, DPMSolver2M, Replace),
        ({"conditioning": "repaint", "resamplings": 3}, DPMSolver2M, Replace),
    ],
)
def test_parts_by_name(settings, solver, conditioning):
    sampling = Sampling(**settings)
    assert not sampling.problems()
    found = sampling.parts()
    assert (type(found[0]), type(found[1])) == (solver, conditioning)


def test_the_papers_way():
    assert (PAPER_SAMPLING.steps, PAPER_SAMPLING.solver, PAPER_SAMPLING.eta) == (50, "ddim", 0)
    assert (PAPER_SAMPLING.grid, PAPER_SAMPLING.conditioning) == ("uniform", "replace")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"solver": "euler"}, "solver: 'euler' is not one of dpmpp_2m, ddim"),
        ({"conditioning": "clear"}, "conditioning: 'clear' is not one of clean, replace, repaint"),
        ({"grid": "karras"}, "grid: 'karras' is not one of log_snr, uniform"),
        ({"steps": 0}, "steps: must be at least 1, not 0"),
        ({"eta": 2.0, "solver": "ddim"}, "eta: must be between 0 and 1, not 2.0"),
        ({"eta": 0.5}, "eta: is a setting of the solver ddim; choose that, or leave eta out"),
    ],
)
def test_settings_that_are_refused(settings, said):
    # Names that are not there are what these tests are about.
    sampling = object.__new__(Sampling)
    for name, value in {**Sampling().__dict__, **settings}.items():
        object.__setattr__(sampling, name, value)
    assert [str(problem) for problem in sampling.problems()] == [said]


def test_clean_needs_times_of_ones_own():
    check_conditioning("evidence", "clean")
    check_conditioning("shared", "replace")
    with pytest.raises(
        EvidenceError, match="conditioning 'clean' needs a model trained with diffusion.times 'evidence'"
    ):
        check_conditioning("shared", "clean")


def test_streams_belong_to_seed_row_and_draw():
    keys = row_streams(0, ["a", "b"], 0).keys
    assert torch.equal(row_streams(0, ["b", "a"], 0).keys, keys.flip(0))
    others = [row_streams(1, ["a"], 0), row_streams(0, ["a"], 1), row_streams(0, ["c"], 0)]
    assert len({int(keys[0]), *(int(other.keys[0]) for other in others)}) == 4


LABELS = CategoricalSpec(categories={"male": 1, "female": 2, "other": 3})
SITES = OneHotSpec(categories=3).build(())
AGE, CODEC = ContinuousSpec(), LinearSpec(scale="range", range=(0, 100)).build(())


def test_a_category_has_its_likeliest_label_and_all_probabilities():
    assert category_labels(LABELS, SITES) == ["male", "female", "other"]
    cells = mean_cells("sex", LABELS, SITES, torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]]))
    assert [row["sex"] for row in cells] == ["female", "male"]
    assert list(cells[0]) == ["sex", "sex_p[male]", "sex_p[female]", "sex_p[other]"]
    assert cells[0]["sex_p[female]"] == pytest.approx(0.5)


def test_a_mean_tells_no_spread():
    (cells, _) = mean_cells("age", AGE, CODEC, torch.tensor([[-0.5], [0.5]]))
    assert cells == {"age": 25.0, "age_sd": "", "age_p05": "", "age_p95": ""}


def test_draws_are_averaged_in_data_space():
    draws = [torch.tensor([[code]]) for code in (-0.4, 0.0, 0.7)]
    (cells,) = draw_cells("age", AGE, CODEC, draws)
    assert list(cells) == ["age", "age_sd", "age_p05", "age_p95"]
    assert cells["age"] == pytest.approx(55) and cells["age_sd"] == pytest.approx(27.8388, abs=1e-3)
    logarithm = LinearSpec(scale="range", range=(1, 100), transform="log").build(())
    (cells,) = draw_cells("age", AGE, logarithm, [torch.tensor([[-1.0]]), torch.tensor([[1.0]])])
    assert cells["age"] == pytest.approx(50.5), "the mean of the numbers, not of their logarithms"
    (cells,) = mean_cells("age", AGE, logarithm, torch.tensor([[0.0]]))
    assert cells["age"] == pytest.approx(10), "in code space the mean is geometric"


def test_one_draw_has_no_spread():
    (cells,) = draw_cells("age", AGE, CODEC, [torch.tensor([[0.0]])])
    assert cells == {"age": 50.0, "age_sd": "", "age_p05": "", "age_p95": ""}


def test_quantiles_need_twenty_draws():
    """Weibull's plotting positions: of 20 numbers, the 5 % point lies 1.05 numbers from below."""
    codes = [torch.tensor([[number / 50 - 1]]) for number in range(1, 21)]
    (cells,) = draw_cells("age", AGE, CODEC, codes)
    assert cells["age_p05"] == pytest.approx(1.05) and cells["age_p95"] == pytest.approx(19.95)
    (cells,) = draw_cells("age", AGE, CODEC, codes[:-1])
    assert cells["age_p05"] == cells["age_p95"] == "" and cells["age_sd"] != ""


def test_a_median_of_draws():
    codes = [torch.tensor([[code]]) for code in (-0.4, 0.0, 0.9)]
    (cells,) = draw_cells("age", AGE, CODEC, codes, point="median")
    assert cells["age"] == 50


def test_draws_of_a_category_average_their_probabilities():
    draws = [torch.tensor([row]) for row in ([0.5, 0.3, 0.2], [0.1, 0.5, 0.4])]
    (cells,) = draw_cells("sex", LABELS, SITES, draws)
    assert cells["sex"] == "female" and cells["sex_p[male]"] == pytest.approx(0.3)


def test_votes_count_first_and_probability_decides_a_tie():
    draws = [torch.tensor([[0.2, 0.5, 0.3]])] * 4
    (cells,) = draw_cells("sex", LABELS, SITES, draws, votes=torch.tensor([[0], [0], [2], [1]]))
    assert cells["sex"] == "male" and cells["sex_p[female]"] == pytest.approx(0.5)
    (cells,) = draw_cells("sex", LABELS, SITES, draws, votes=torch.tensor([[0], [0], [2], [2]]))
    assert cells["sex"] == "other"


def test_an_image_is_told_in_words():
    codec, spec = IdentitySpec().build((1, 4, 6)), ImageSpec(shape=(4, 6))
    code = torch.zeros(2, 1, 4, 6)
    assert mean_cells("scan", spec, codec, code)[1] == {"scan": "image of 4x6 voxels"}
    assert draw_cells("scan", spec, codec, [code, code])[0] == {"scan": "image of 4x6 voxels"}
