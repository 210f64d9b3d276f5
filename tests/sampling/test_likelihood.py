"""The lower bound of log p against exact densities: its expectation is not above, and its gap is as stated."""

import math
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from exact_joint import ExactJoint

from metavoxel.parts.indices import one_hot
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.likelihood import FINEST, code_bound, has_likelihood, log_likelihood
from metavoxel.testing import MixtureOracle

MIXTURE = MixtureOracle.default()
Z = 5.0


def evidence(values, names):
    codes = MIXTURE.codes({name: values[name] for name in names})
    return {name: Evidence(code.float(), torch.ones(len(code), 1, dtype=torch.bool)) for name, code in codes.items()}


def found_and_exact(name, given, rows=150, evaluations=48):
    """Return the model's log-likelihood of rows of the oracle, and the exact one."""
    truth = MIXTURE.sample(Rng.for_rows(rows, "likelihood", name))
    code = MIXTURE.codes({name: truth[name]})[name].float()
    rng = Rng.for_rows(rows, "bound")
    found = log_likelihood(ExactJoint(MIXTURE), evidence(truth, given), name, code, rng, evaluations=evaluations)
    exact = MIXTURE.given({other: truth[other] for other in given}, rows=rows).log_prob({name: truth[name]})
    return found, exact


@pytest.mark.parametrize(
    ("name", "given"), [("s1", ("s2", "s3", "s4", "binary", "five")), ("s4", ("binary",)), ("s2", ())]
)
def test_a_scalars_bound_is_below_and_tight(name, given):
    found, exact = found_and_exact(name, given)
    gap = exact - found
    error = float(gap.std()) / math.sqrt(len(gap))
    assert error < 0.03, "the standard error of one row is above about a quarter of a nat"
    assert -Z * error < float(gap.mean()) < 0.01 + Z * error
    # The order of rows, by which outliers are found, is kept
    assert torch.corrcoef(torch.stack([found, exact]))[0, 1] > 0.9


def test_structure_finer_than_the_smallest_noise_is_not_resolved():
    """For N(0, s^2) the bound is low by log(1 + noise / s^2) / 2 on average."""
    rows, spread, kernels = 300, 0.02, {"x": GaussianKernel()}
    truth = Rng.for_rows(rows, "narrow").normal((rows, 1), dtype=torch.float64) * spread

    def denoiser(states, times, observed):
        log_snr = kernels["x"].log_snr(times["x"])[:, None]
        signal, noise = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr)
        return {"x": states["x"] * signal * spread**2 / (signal**2 * spread**2 + noise)}

    like = torch.zeros((), dtype=torch.float64)
    conditional = Conditional(kernels, {"x": (1,)}, {}, (), like, Rng.for_rows(rows, "narrow bound"))
    found = code_bound(denoiser, conditional, "x", truth, evaluations=64)
    exact = -0.5 * (truth[:, 0] / spread) ** 2 - math.log(spread) - 0.5 * math.log(2 * math.pi)
    expected = 0.5 * math.log1p(math.exp(-FINEST) / spread**2)
    gap = exact - found
    assert abs(float(gap.mean()) - expected) < Z * float(gap.std()) / math.sqrt(rows)
    assert expected > 0.3


def test_cells_of_a_grid_add_up():
    """The log-density of independent standard normal cells is a sum, for a schedule with signal at t = 1 too."""
    rows, kernels = 40, {"scan": GaussianKernel(schedule={"type": "scaled_linear"}, prediction="v")}
    truth = Rng.for_rows(rows, "scan").normal((rows, 2, 3, 4))

    def denoiser(states, times, observed):
        signal = torch.sigmoid(kernels["scan"].log_snr(times["scan"])).sqrt().reshape(-1, 1, 1, 1)
        return {"scan": (signal * states["scan"]).float()}

    conditional = Conditional(kernels, {"scan": (2, 3, 4)}, {}, (), torch.zeros(()), Rng.for_rows(rows, "scan bound"))
    found = code_bound(denoiser, conditional, "scan", truth, evaluations=32) / 24
    exact = (-0.5 * truth.double().square() - 0.5 * math.log(2 * math.pi)).flatten(1).mean(1)
    assert ((exact - found).abs() < 0.15).all()
    assert abs(float((exact - found).mean())) < 0.01 + Z * float((exact - found).std()) / math.sqrt(rows)


@pytest.mark.parametrize("name", ["binary", "five"])
def test_a_categorys_probability_is_exact(name):
    given = ("s1", "s3", "five" if name == "binary" else "binary")
    found, exact = found_and_exact(name, given, evaluations=1)
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)


def test_a_row_does_not_depend_on_the_other_rows():
    rows = 6
    truth = MIXTURE.sample(Rng.for_rows(rows, "alone"))
    code, keys = MIXTURE.codes({"s1": truth["s1"]})["s1"].float(), Rng.for_rows(rows, "alone bound")
    model, given = ExactJoint(MIXTURE), evidence(truth, ("s2", "five"))
    whole = log_likelihood(model, given, "s1", code, keys, evaluations=4)
    rows = torch.tensor([4, 1])
    part = {name: Evidence(entry.code[rows], entry.known[rows]) for name, entry in given.items()}
    torch.testing.assert_close(log_likelihood(model, part, "s1", code[rows], keys[rows], evaluations=4), whole[rows])
    other = log_likelihood(model, given, "s1", code, Rng.for_rows(6, "others"), evaluations=4)
    assert not torch.allclose(other, whole)


def test_no_rows():
    found = log_likelihood(ExactJoint(MIXTURE), {}, "s1", torch.zeros(0, 1), Rng.of([]), evaluations=2)
    assert found.shape == (0,) and has_likelihood(GaussianKernel())


CHAIN = torch.tensor([[0.85, 0.1, 0.05], [0.1, 0.8, 0.1], [0.3, 0.1, 0.6]], dtype=torch.float64)
CELLS = 4


def chain_denoiser(states, times, observed):
    """Return the exact class probabilities of a Markov chain's cells, given the observed ones."""
    classes = torch.cartesian_prod(*[torch.arange(3)] * CELLS)
    prior = torch.full((len(classes),), 1 / 3, dtype=torch.float64)
    for cell in range(1, CELLS):
        prior = prior * CHAIN[classes[:, cell - 1], classes[:, cell]]
    every = torch.nn.functional.one_hot(classes, 3).double()
    agrees = torch.einsum("bkc,nck->bnc", states["x"].double(), every) > 0.5
    weights = prior * (agrees | ~observed["x"][:, :1].expand(-1, len(classes), CELLS)).all(2)
    posterior = torch.einsum("bn,nck->bkc", weights, every)
    return {"x": posterior / posterior.sum(1, keepdim=True)}


class Chain:
    """A sequence from a Markov chain, with its exact denoiser."""

    kernels: ClassVar = {"x": UniformD3PMKernel()}
    code_shapes: ClassVar = {"x": (3, CELLS)}
    device = torch.device("cpu")
    denoise = staticmethod(chain_denoiser)


class IndexedChain(Chain):
    """The same, with states held as indices."""

    kernels: ClassVar = {"x": UniformD3PMKernel().with_indices(3)}

    @staticmethod
    def denoise(states, times, observed):
        return chain_denoiser({"x": one_hot(states["x"][:, 0], 3)}, times, observed)


def test_a_sequence_has_the_bound_of_any_order():
    """For an exact denoiser the bound is the log-probability, not the sum of the cells' marginal ones."""
    rows = 400
    one = torch.tensor([0, 0, 1, 2])
    code = torch.nn.functional.one_hot(one, 3).T.double().expand(rows, 3, CELLS)
    exact = math.log(1 / 3) + sum(math.log(CHAIN[a, b]) for a, b in pairwise(one.tolist()))
    found = log_likelihood(Chain(), {}, "x", code, Rng.for_rows(rows, "any order"), evaluations=16)
    error = float(found.std()) / math.sqrt(rows)
    assert error < 0.03 and abs(float(found.mean()) - exact) < Z * error
    same = log_likelihood(
        IndexedChain(), {}, "x", code.argmax(1, True), Rng.for_rows(rows, "any order"), evaluations=16
    )
    torch.testing.assert_close(same, found)
    marginal = chain_denoiser({"x": code}, {}, {"x": torch.zeros(rows, 1, CELLS, dtype=torch.bool)})["x"]
    assert abs(float((marginal * code).sum(1).log().sum(1)[0]) - exact) > 0.3
