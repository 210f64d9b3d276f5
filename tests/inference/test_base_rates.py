"""Other base rates: Bayes' rule against an exact joint with reweighted classes."""

import pytest
import torch
from exact_joint import ExactJoint

from metavoxel.inference.base_rates import base_rates, shifted
from metavoxel.rng import Rng
from metavoxel.testing import MixtureOracle

MIXTURE = MixtureOracle.default()


@pytest.mark.parametrize("name", ["binary", "five"])
def test_the_models_base_rates_are_its_marginal(name):
    expected = MIXTURE.given({}, rows=1).probabilities(name)[0]
    torch.testing.assert_close(base_rates(ExactJoint(MIXTURE), name, seed=0), expected, atol=1e-5, rtol=0)


def test_shifted_probabilities_are_those_of_a_reweighted_population():
    """By importance weights of exact draws, for equal base rates of the classes of 'five'."""
    rows = 40_000
    drawn = MIXTURE.sample(Rng.for_rows(rows, "population"))
    own = MIXTURE.given({}, rows=1).probabilities("five")[0]
    ratio = 0.2 / own
    near = (drawn["s1"] - 0.5).abs() < 0.1
    weights = ratio[drawn["five"][near]]
    counts = torch.zeros(5, dtype=torch.float64).index_add(0, drawn["five"][near], weights)
    expected = counts / counts.sum()
    found = shifted(MIXTURE.given({"s1": torch.tensor([0.5])}).probabilities("five"), ratio)[0]
    error = (expected * (1 - expected) / int(near.sum())).sqrt() * ratio.sqrt()
    assert ((found - expected).abs() < 5 * error + 0.005).all()


def test_excluded_classes_and_cells_of_a_grid():
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    found = shifted(probabilities, torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 3 / 7, 4 / 7], [0.0, 0.5, 0.5]]))
    cells = shifted(probabilities[:, :, None].expand(2, 3, 4), torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(cells, found[:, :, None].expand(2, 3, 4))
