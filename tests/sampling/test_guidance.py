"""Guidance: a single call with exact estimates, and samples."""

from functools import partial
from typing import ClassVar

import pytest
import torch

from metavoxel.errors import EvidenceError
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.conditioning import Clean
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.guidance import guide, guided
from metavoxel.sampling.solvers import DDIM, DPMSolver2M
from metavoxel.sampling.times import log_snr_grid, uniform_grid
from metavoxel.sampling.trajectory import sample_trajectory
from metavoxel.testing import MixtureOracle

RHO, GIVEN = 0.9, 1.5
TRIO = MixtureOracle(
    weights=[0.5, 0.5],
    scalars=("x", "y"),
    means=torch.zeros(2, 2),
    covariances=torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=torch.float64).expand(2, 2, 2),
    categories={"k": torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]), "l": torch.tensor([[0.9, 0.1], [0.2, 0.8]])},
)
KERNELS = {"x": GaussianKernel(), "y": GaussianKernel(), "k": UniformD3PMKernel(), "l": UniformD3PMKernel()}
SHAPES = {"x": (1,), "y": (1,), "k": (3,), "l": (2,)}
LIKE = torch.zeros((), dtype=torch.float64)


def exact(states, times, observed):
    return TRIO.denoiser(KERNELS)(states, times)


def conditional_on(values, rows=500, marginal=()):
    codes = TRIO.codes({name: torch.tensor([value]).expand(rows) for name, value in values.items()})
    given = {name: Evidence(code, torch.ones(rows, 1, dtype=torch.bool)) for name, code in codes.items()}
    return Conditional(KERNELS, SHAPES, given, marginal, LIKE, Rng.for_rows(rows, "guided"))


def draw(conditional, weight, steps=25):
    trajectory = sample_trajectory(
        guided(exact, conditional, weight),
        conditional,
        log_snr_grid(steps, KERNELS["x"]),
        solver=DPMSolver2M(),
        conditioning=Clean(),
    )
    *_, last = trajectory
    return last


def states_at(t, rows=500):
    states = {name: Rng.for_rows(rows, "state", name).normal((rows, 1), dtype=torch.float64) for name in ("x", "y")}
    for name in ("k", "l"):
        states[name] = KERNELS[name].prior((rows, *SHAPES[name]), rng=Rng.for_rows(rows, "state", name), like=LIKE)
    return states, {name: torch.full((rows,), t, dtype=torch.float64) for name in states}


@pytest.mark.parametrize("weight", [-1.0, -0.3, 0.5, 3.0])
def test_one_call_in_closed_form(weight):
    """c + w (c - m) for x given y = 1.5: c with the prior N(1.35, .19), m with the prior N(0, 1)."""
    conditional, (states, times) = conditional_on({"y": GIVEN}), states_at(0.4)
    states["y"], times["y"] = conditional.given["y"].code, torch.zeros(500, dtype=torch.float64)
    observed = {name: torch.full((500, 1), name == "y") for name in states}
    alpha_bar = torch.sigmoid(KERNELS["x"].log_snr(times["x"]))[:, None]
    signal, mean, variance = alpha_bar.sqrt(), RHO * GIVEN, 1 - RHO**2
    gain = signal * variance / (alpha_bar * variance + 1 - alpha_bar)
    estimate = mean + gain * (states["x"] - signal * mean)
    expected = estimate + weight * (estimate - signal * states["x"])
    torch.testing.assert_close(guided(exact, conditional, weight)(states, times, observed)["x"], expected)


def test_probabilities_are_guided_in_their_logarithms():
    conditional, marginal = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.2, 0.3, 0.5]])
    for weight in (-1.0, -0.5, 1.0, 2.0):
        weighted = conditional * (conditional / marginal) ** weight
        torch.testing.assert_close(
            guide(KERNELS["k"], conditional, marginal, weight), weighted / weighted.sum(1, keepdim=True)
        )
    certain = guide(KERNELS["k"], torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.5, 0.5]]), 3.0)
    torch.testing.assert_close(certain, torch.tensor([[1.0, 0.0, 0.0]]))
    impossible = guide(KERNELS["k"], torch.tensor([[0.6, 0.4, 0.0]]), torch.tensor([[0.5, 0.5, 0.0]]), 1.0)
    assert impossible.isfinite().all() and impossible[0, 2] < 1e-6


def test_weight_0_is_no_guidance():
    assert guided(exact, conditional_on({"y": GIVEN}), 0.0) is exact


def test_weight_minus_1_is_the_marginal():
    """The trajectory without the evidence, with the same random numbers."""
    guided_away = draw(conditional_on({"y": GIVEN, "l": 1}, rows=100), -1.0)
    without = draw(conditional_on({}, rows=100, marginal=("y", "l")), 0.0)
    torch.testing.assert_close(guided_away["x"], without["x"])
    torch.testing.assert_close(guided_away["k"], without["k"])


def test_the_effect_of_evidence_grows_with_the_weight():
    """Means overshoot and variances shrink, so guidance is off by default."""
    drawn = [draw(conditional_on({"y": GIVEN, "l": 1}), weight) for weight in (-1.0, -0.5, 0.0, 1.0, 3.0)]
    means = torch.stack([one["x"].mean() for one in drawn])
    frequencies = torch.stack([one["k"][:, 2].mean() for one in drawn])
    assert (means.diff() > 0.05).all() and (frequencies[[0, 2, 4]].diff() > 0.05).all()
    assert drawn[4]["x"].var() < drawn[2]["x"].var() / 2
    assert all(torch.equal(one["y"], torch.full_like(one["y"], GIVEN)) for one in drawn)


def test_one_doubled_call():
    """In its second half known variables are at t = 1, unobserved, in one prior state along the trajectory."""
    conditional, seen = conditional_on({"y": GIVEN}, rows=4), []

    def watch(states, times, observed):
        seen.append((states, times, observed))
        return exact(states, times, observed)

    denoiser = guided(watch, conditional, 2.0)
    trajectory = sample_trajectory(denoiser, conditional, uniform_grid(3), solver=DDIM(), conditioning=Clean())
    assert len(list(trajectory)) == len(seen) == 3
    for step, (states, times, observed) in enumerate(seen):
        assert all(len(state) == 8 for state in states.values())
        assert torch.equal(states["x"][:4], states["x"][4:])
        assert times["y"].tolist() == [0] * 4 + [1] * 4 and times["x"].tolist() == pytest.approx([1 - step / 3] * 8)
        assert observed["y"][:, 0].tolist() == [True] * 4 + [False] * 4
        assert (states["y"][:4] == GIVEN).all() and not (states["y"][4:] == GIVEN).any()
        assert torch.equal(states["y"], seen[0][0]["y"])


def test_rows_without_the_evidence_are_not_guided():
    """And draws do not depend on the other rows."""
    conditional = conditional_on({"y": GIVEN}, rows=6)
    code, known = conditional.given["y"].code, torch.tensor([[True], [False]]).repeat(3, 1)
    conditional = conditional._replace(given={"y": Evidence(code, known)})
    together, plain = draw(conditional, 2.0, steps=5)["x"], draw(conditional, 0.0, steps=5)["x"]
    torch.testing.assert_close(together[1::2], plain[1::2])
    assert not torch.isclose(together[::2], plain[::2]).any()
    alone = conditional._replace(given={"y": Evidence(code[:2], known[:2])}, rng=conditional.rng[:2])
    torch.testing.assert_close(draw(alone, 2.0, steps=5)["x"], together[:2])


def test_all_unsuitable_variables_are_reported():
    class Phases(UniformD3PMKernel):
        support: ClassVar[str] = "phase"

    known = torch.ones(2, 1, 2, 2, dtype=torch.bool)
    known[1, :, 0] = False
    conditional = Conditional(
        {"scan": GaussianKernel(), "phase": Phases()}, {"scan": (1, 2, 2), "phase": (4,)},
        {"scan": Evidence(torch.zeros(2, 1, 2, 2), known)}, (), LIKE, Rng.for_rows(2, "refused"),
    )  # fmt: skip
    refused = partial(guided, exact, conditional)
    with pytest.raises(EvidenceError) as caught:
        refused(1.0)
    assert [problem.where for problem in caught.value.problems] == ["given scan", "phase"]
    assert refused(0.0) is exact


def test_a_value_with_an_error_is_not_guided():
    """It is sampled, so that its estimate without evidence would not depend on its state."""
    conditional = conditional_on({"y": GIVEN}, rows=2)
    conditional = conditional._replace(given={"y": conditional.given["y"]._replace(sd=0.5)})
    with pytest.raises(EvidenceError, match=r"given y: has an error \(±\), but guidance removes the evidence"):
        guided(exact, conditional, 1.0)
