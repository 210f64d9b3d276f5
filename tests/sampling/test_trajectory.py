"""Sampling trajectories: solvers, time grids, conditioning and non-finite results."""

from functools import partial

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from metavoxel.errors import NumericalError
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.kernels.schedules import LinearSchedule, ScaledLinearSchedule
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.conditioning import Clean, Replace
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import batch_mean
from metavoxel.sampling.sample import row_streams
from metavoxel.sampling.smc import particle_trajectory
from metavoxel.sampling.solvers import DDIM, DataEstimate, DPMSolver2M, Move
from metavoxel.sampling.times import log_snr_grid, uniform_grid
from metavoxel.sampling.trajectory import sample_trajectory

KERNELS = {"scan": GaussianKernel(), "age": GaussianKernel(prediction="x0"), "site": UniformD3PMKernel()}
SHAPES = {"scan": (2, 3, 4), "age": (1,), "site": (3,)}
LIKE = torch.zeros(())


def denoiser(states, times, observed):
    """Return functions of every state, cell by cell, so that a row's result is bitwise equal in any batch."""
    age, site = states["age"], states["site"]
    scan = torch.tanh(states["scan"] + age[:, :, None, None] + site[:, :1, None, None])
    weights = torch.exp(site + 0.3 * age)
    return {
        "scan": scan,
        "age": torch.sin(age + states["scan"][:, :1, 0, 0]),
        "site": weights / weights.sum(1, keepdim=True),
    }


def conditional_on(keys, given=None, marginal=(), seed=0):
    return Conditional(KERNELS, SHAPES, given or {}, marginal, LIKE, row_streams(seed, keys, 0))


def sampler(solver, conditioning):
    return partial(sample_trajectory, solver=solver, conditioning=conditioning)


METHODS = {
    "clean": sampler(DDIM(0.0), Clean()),
    "ancestral": sampler(DDIM(1.0), Clean()),
    "2M": sampler(DPMSolver2M(), Clean()),
    "replace": sampler(DDIM(0.0), Replace()),
    "repaint": sampler(DDIM(1.0), Replace(resamplings=3, jump=2)),
    "smc": partial(particle_trajectory, particles=6, solver=DPMSolver2M(1.0)),
}


def answer(keys, given=None, *, method="ancestral", steps=4, seed=0, denoiser=denoiser):
    *_, last = METHODS[method](denoiser, conditional_on(keys, given, seed=seed), uniform_grid(steps))
    return last


def given_for(keys):
    """Return evidence by key: ages of some rows, and half a scan of the others."""
    rng = row_streams(7, keys, 0)
    has_age = torch.tensor([[key < "c"] for key in keys])
    half = torch.zeros(len(keys), 1, 3, 4, dtype=torch.bool)
    half[:, :, :, :2] = ~has_age[:, :, None, None]
    return {
        "age": Evidence(rng.fork("age").normal((len(keys), 1)), has_age),
        "scan": Evidence(rng.fork("scan").normal((len(keys), 2, 3, 4)), half),
    }


@pytest.mark.parametrize("method", METHODS)
def test_draws_depend_on_the_row_alone(method):
    """They are bitwise equal for any batch size, row order and other rows."""
    keys = ["a", "b", "c", "d", "e"]
    together = answer(keys, given_for(keys), method=method)
    for batch in (["d"], ["e", "a"], ["c", "x", "b", "y", "z", "d"]):
        drawn = answer(batch, given_for(batch), method=method)
        for place, key in enumerate(batch):
            if key in keys:
                for name in KERNELS:
                    assert torch.equal(drawn[name][place], together[name][keys.index(key)]), (name, key)


@pytest.mark.parametrize("method", METHODS)
def test_given_cells_are_returned_bitwise(method):
    keys = ["a", "b", "c", "d"]
    given = given_for(keys)
    last = answer(keys, given, method=method)
    for name, (code, known, _) in given.items():
        known = known.expand_as(code)
        assert torch.equal(last[name][known], code[known])
        assert not torch.isin(last[name][~known], code[~known]).any(), "unknown cells are those of the evidence's code"


@pytest.mark.parametrize("method", METHODS)
def test_codes_of_unknown_cells_have_no_influence(method):
    keys = ["a", "b", "c", "d"]
    given = given_for(keys)
    poisoned = {
        name: entry._replace(code=torch.where(entry.known, entry.code, float("nan"))) for name, entry in given.items()
    }
    expected = answer(keys, given, method=method)
    found = answer(keys, poisoned, method=method)
    for name in KERNELS:
        assert torch.equal(found[name], expected[name])


def test_draws_depend_on_the_seed():
    keys = ["a", "b"]
    first, again, other = answer(keys), answer(keys), answer(keys, seed=1)
    for name in KERNELS:
        assert torch.equal(first[name], again[name])
    assert not torch.equal(first["scan"], other["scan"])


@pytest.mark.parametrize("method", METHODS)
def test_a_further_variable_does_not_change_the_draws_of_others(method):
    """If the network ignores it: random streams are forked by variable name."""
    keys, found = ["a", "d"], []
    for more in ({}, {"height": GaussianKernel()}):
        kernels, shapes = {**more, **KERNELS}, {**SHAPES, "height": (1,)}
        conditional = Conditional(kernels, shapes, given_for(keys), (), LIKE, row_streams(0, keys, 0))

        def ignoring(states, times, observed):
            return denoiser(states, times, observed) | {name: states[name] for name in states if name == "height"}

        *_, last = METHODS[method](ignoring, conditional, uniform_grid(4))
        found.append(last)
    for name in KERNELS:
        assert torch.equal(found[0][name], found[1][name]), name


def test_inputs_of_the_denoiser():
    """Given cells are observed at t = 0, marginal variables are at t = 1, and all others at the trajectory's time."""
    keys = ["a", "d"]
    seen = []

    def watch(states, times, observed):
        seen.append((states, times, observed))
        return denoiser(states, times, observed)

    conditional = conditional_on(keys, given_for(keys), marginal=["site"])
    trajectory = sample_trajectory(watch, conditional, uniform_grid(4), solver=DDIM(), conditioning=Clean())
    *_, last = trajectory
    assert [float(times["scan"].max()) for _, times, _ in seen] == [1, 0.75, 0.5, 0.25]
    states, times, observed = seen[1]
    assert times["age"].tolist() == [0, 0.75] and observed["age"].tolist() == [[True], [False]]
    assert times["scan"].shape == observed["scan"].shape == (2, 1, 3, 4)
    assert torch.equal(times["scan"] == 0, observed["scan"])
    assert times["site"].tolist() == [1, 1] and not observed["site"].any()
    assert all(torch.equal(later["site"], states["site"]) for later, _, _ in seen), "a marginal variable was sampled"
    assert torch.equal(last["site"], states["site"])


def test_one_evaluation_per_step():
    calls = []

    def count(states, times, observed):
        calls.append(1)
        return denoiser(states, times, observed)

    for steps in (1, 7):
        calls.clear()
        answer(["a"], steps=steps, denoiser=count)
        assert len(calls) == steps
    calls.clear()
    answer(["a"], steps=6, method="repaint", denoiser=count)
    assert len(calls) == 3 * 6
    calls.clear()
    answer(["a"], steps=6, method="smc", denoiser=count)
    assert len(calls) == 6


@pytest.mark.parametrize("method", ["ancestral", "smc"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_estimate_is_named(bad, method):
    def broken(states, times, observed):
        x0_hats = denoiser(states, times, observed)
        late = bool((times["age"] < 0.6).all())
        return {**x0_hats, "age": torch.full_like(x0_hats["age"], bad) if late else x0_hats["age"]}

    with pytest.raises(NumericalError, match=r"variable 'age': .* not finite at step 3 \(t = 0\.5\)"):
        answer(["a", "b"], denoiser=broken, method=method)
    all_known = {"age": Evidence(torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool))}
    if method == "smc":
        with pytest.raises(NumericalError, match="variable 'age'"):  # it determines the particles' weights
            answer(["a", "b"], all_known, denoiser=broken, method=method)
    else:
        answer(["a", "b"], all_known, denoiser=broken, method=method)  # the estimate is not used

    def never_finite(states, times, observed):
        return {**denoiser(states, times, observed), "age": torch.full((2, 1), bad)}

    with pytest.raises(NumericalError, match="variable 'age': .* not finite at t = 1"):
        batch_mean(never_finite, conditional_on(["a", "b"]), evaluations=1)


@pytest.mark.parametrize(
    ("kernel", "table"),
    [
        (GaussianKernel(schedule=LinearSchedule()), {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}),
        (
            GaussianKernel(schedule=ScaledLinearSchedule(), prediction="epsilon"),
            {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"},
        ),
    ],
    ids=["linear", "scaled_linear"],
)
@pytest.mark.parametrize("steps", [5, 20, 50])
@pytest.mark.parametrize(("algorithm", "eta"), [("dpmsolver++", 0.0), ("sde-dpmsolver++", 1.0)])
def test_2m_equals_that_of_diffusers(kernel, table, steps, algorithm, eta):
    """Over a whole trajectory at t = k/1000, where both have the same noise schedule."""
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=1000, prediction_type="sample", algorithm_type=algorithm, solver_order=2,
        solver_type="midpoint", timestep_spacing="trailing", final_sigmas_type="zero", lower_order_final=False, **table,
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    grid, solver, before = uniform_grid(steps), DPMSolver2M(eta), None
    assert torch.equal(scheduler.timesteps, torch.round(grid[:-1] * 1000).long() - 1)
    start = Rng.for_rows(3, "dpm").normal((3, 2, 4), dtype=torch.float64)
    ours, theirs = start, start
    for step, (t, s) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
        x0_hat = torch.tanh(2 * ours + 0.1 * step)
        move = Move(t.expand(3), s.expand(3), before)
        rng = Rng.for_rows(3, "step", step)
        noise = Rng(rng.keys).normal((3, 2, 4), dtype=torch.float64)
        ours, before = solver.transition(kernel, x0_hat, ours, move).sample(rng), DataEstimate(x0_hat, move.t)
        x0_hat = torch.tanh(2 * theirs + 0.1 * step)
        theirs = scheduler.step(x0_hat, scheduler.timesteps[step], theirs, variance_noise=noise).prev_sample
        torch.testing.assert_close(ours, theirs.double(), atol=1e-5, rtol=0)


def test_2m_needs_fewer_steps():
    """A tenth of DDIM's error, down to that of the grid's bounds."""
    kernel = GaussianKernel()
    mean, variance = 0.7, 0.2

    def solve(solver, steps):
        """Return the error for a normal variable, whose probability flow maps x at t = 1 to mean + sd x."""
        grid = log_snr_grid(steps, kernel)
        state, before = torch.tensor([[0.8]], dtype=torch.float64), None
        for t, s in zip(grid[:-1], grid[1:], strict=True):
            alpha_bar = torch.sigmoid(kernel.log_snr(t[None]))
            gain = variance * alpha_bar.sqrt() / (variance * alpha_bar + 1 - alpha_bar)
            x0_hat = mean + gain * (state - alpha_bar.sqrt() * mean)
            move = Move(t[None], s[None], before)
            state, before = solver.transition(kernel, x0_hat, state, move).mean, DataEstimate(x0_hat, move.t)
        return abs(float(state) - (mean + variance**0.5 * 0.8))

    for steps in (10, 20, 40, 80):
        assert solve(DPMSolver2M(), steps) < solve(DDIM(), steps) / 8
    assert 1.9 < solve(DDIM(), 20) / solve(DDIM(), 40) < 2.1, "not of first order"
    assert solve(DPMSolver2M(), 320) < 5e-4


def test_probabilities_are_not_extrapolated():
    kernel, x = UniformD3PMKernel(), torch.eye(3)
    earlier, t, s = (torch.full((3,), time, dtype=torch.float64) for time in (0.9, 0.6, 0.3))
    x0_hat = torch.full((3, 3), 1 / 3)
    step = DPMSolver2M().transition(kernel, x0_hat, x, Move(t, s, DataEstimate(torch.eye(3), earlier)))
    assert torch.equal(step.mean, DDIM().transition(kernel, x0_hat, x, Move(t, s)).mean)


def test_renoising_clears_the_history():
    """The estimate before it is not that of the preceding time."""

    class Watched(DPMSolver2M):
        befores = []  # noqa: RUF012

        def transition(self, kernel, x0_hat, xt, move):
            self.befores.append(None if move.before is None else float(move.before.t))
            return super().transition(kernel, x0_hat, xt, move)

    solver = Watched()
    only_age = Conditional({"age": KERNELS["age"]}, SHAPES, {}, (), LIKE, row_streams(0, ["a"], 0))
    sine = lambda states, times, observed: {"age": torch.sin(states["age"])}  # noqa: E731
    list(sample_trajectory(sine, only_age, uniform_grid(4), solver=solver, conditioning=Replace(2, 2)))
    assert solver.befores == [None, 1.0, None, 1.0, 0.75, 0.5, None, 0.5]


def test_moves_of_repaint():
    grid = uniform_grid(5)
    moves = list(Replace(resamplings=2, jump=2).moves(grid))
    assert moves == [
        (0, 1),
        (1, 2),
        (2, 0),
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (4, 2),
        (2, 3),
        (3, 4),
        (4, 5),
        (5, 4),
        (4, 5),
    ]
    assert list(Replace().moves(grid)) == list(Clean().moves(grid)) == [(k, k + 1) for k in range(5)]
