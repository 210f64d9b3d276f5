"""Measures of a model's conditionals against the exact ones of the analytic joint distribution."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from benchmarks.table_run import Rows, TableRun
from metavoxel.evaluation.metrics.two_sample import c2st
from metavoxel.rng import Rng
from metavoxel.sampling.settings import Sampling
from metavoxel.testing.oracle import MixtureOracle

ORACLE = MixtureOracle.default()


def fresh(rows: int, purpose: str) -> Rows:
    """Draw new rows of the exact joint distribution."""
    return ORACLE.sample(Rng.for_rows(rows, "benchmark analytic", "test rows", purpose))


def part(rows: Rows, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the columns of some variables."""
    return {name: rows[name] for name in names}


class Measured(NamedTuple):
    """A mean over rows, and its standard error."""

    mean: float
    error: float


class Errors(NamedTuple):
    """Errors of one evidence set: squared error over Bayes, and of class probabilities; NaN without such a target."""

    names: tuple[str, ...]
    ratio: float
    probabilities: float


def pure_noise(run: TableRun, rows: int, evaluations: int) -> Iterator[Errors]:
    """Yield errors of posterior means over new rows, for every evidence set.

    The expected squared error is the exact posterior variance plus the squared distance of the prediction from the
    exact mean. This expectation is averaged, as it has a smaller variance than squared errors.
    """
    test = fresh(rows, "read-out")
    for names in ORACLE.subsets():
        given = part(test, names)
        exact, found = ORACLE.given(given), run.predict(given, evaluations=evaluations, seed=1)
        scalars = [name for name in ORACLE.scalars if name not in names]
        categories = [name for name in ORACLE.categories if name not in names]
        excess = [float((found[name] - exact.mean(name)).square().mean()) for name in scalars]
        bayes = [float(exact.variance(name).mean()) for name in scalars]
        off = [float((found[name] - exact.probabilities(name)).abs().mean()) for name in categories]
        yield Errors(
            names,
            1 + sum(excess) / sum(bayes) if scalars else float("nan"),
            float(np.mean(off)) if categories else float("nan"),
        )


def matrix(rows: Rows) -> Float64[np.ndarray, "n d"]:
    """Return all variables as columns."""
    return np.stack([rows[name].double().numpy() for name in ORACLE.names], 1)


def two_samples(run: TableRun, sampling: Sampling, names: Sequence[str], rows: int) -> float:
    """Return the C2ST of exact joint rows against rows whose unknown variables the model draws given their evidence.

    The samples have no row in common, so that they differ only by errors of the conditional.
    """
    given = part(fresh(rows, "evidence"), names)
    drawn = run.draw(given, sampling, rows=rows, seed=2)
    return c2st(matrix(fresh(rows, "reference")), matrix(given | drawn))


def squared_error(run: TableRun, sampling: Sampling, names: Sequence[str], rows: int) -> Float64[Tensor, "rows"]:
    """Return each row's contribution to the squared error, over Bayes, of the mean of infinitely many draws.

    Two independent draws given the evidence suffice: the expected product of their distances from the exact mean is the
    squared distance of the method's mean.
    """
    given = part(fresh(rows, "squared error"), names)
    exact = ORACLE.given(given)
    first, second = (run.draw(given, sampling, rows=rows, seed=seed) for seed in (3, 4))
    scalars = [name for name in ORACLE.scalars if name not in names]
    products = torch.stack([(first[n] - exact.mean(n)) * (second[n] - exact.mean(n)) for n in scalars]).sum(0)
    return 1 + products / sum(float(exact.variance(name).mean()) for name in scalars)


def mean_of(found: Sequence[Float64[Tensor, "rows"]]) -> Measured:
    """Return the mean over evidence sets and rows; a row has the same streams, and correlated errors, in all sets."""
    return _mean(torch.stack(list(found)).mean(0))


def _mean(rows: Float64[Tensor, "rows"]) -> Measured:
    return Measured(float(rows.mean()), float(rows.std() / len(rows) ** 0.5))


def coverage(run: TableRun, sampling: Sampling, rows: int, draws: int) -> Measured:
    """Return the coverage of 90 % intervals of a model's draws under the exact conditional.

    Every row has its own evidence set and one scalar target; other variables are integrated out. Quantiles are at
    Weibull's plotting positions, as in predictions: with exact draws the coverage is .9.
    """
    test = fresh(rows, "coverage")
    asked = [(names, name) for names in ORACLE.subsets() for name in ORACLE.scalars if name not in names]
    held = []
    for place, (names, target) in enumerate(asked):
        which = torch.arange(place, rows, len(asked))
        if not len(which):
            continue
        given = {name: test[name][which].repeat_interleave(draws) for name in names}
        others = [name for name in ORACLE.names if name not in names and name != target]
        drawn = run.draw(given, sampling, rows=len(which) * draws, seed=5 + place, marginal=others)
        sets = drawn[target].reshape(-1, draws).numpy()
        low, high = (
            torch.from_numpy(ends)[:, None] for ends in np.quantile(sets, [0.05, 0.95], axis=1, method="weibull")
        )
        truth = ORACLE.given(given).sample(Rng.for_rows(len(which) * draws, "coverage", place))[target]
        truth = truth.reshape(-1, draws)
        held.append(((truth >= low) & (truth <= high)).double().mean(1))
    return _mean(torch.cat(held))


def joint_in_turn(run: TableRun, names: Sequence[str], rows: int) -> Measured:
    """Return the mean total variation between the categories' joint distribution by the chain rule and the exact one.

    The second category is predicted given each class of the first, in one evaluation each, which gives the distribution
    of draws by the chain rule without drawing.
    """
    given = part(fresh(rows, "categories"), names)
    exact = ORACLE.given(given, rows=rows).probabilities(*ORACLE.categories)
    first, second = ORACLE.categories
    before = run.predict(given, evaluations=1, seed=6, rows=rows)[first]
    after = [
        run.predict(given | {first: torch.full((rows,), index)}, evaluations=1, seed=7 + index)[second]
        for index in range(ORACLE.categories[first])
    ]
    return _mean((before[..., None] * torch.stack(after, 1) - exact).abs().sum((1, 2)) / 2)


def joint_together(run: TableRun, names: Sequence[str], rows: int, draws: int, steps: int) -> tuple[float, float]:
    """Return the same for both drawn in one trajectory, from ``draws`` per row, and for as many exact draws."""
    given = {name: value.repeat_interleave(draws) for name, value in part(fresh(rows, "categories"), names).items()}
    posterior, count = ORACLE.given(given, rows=rows * draws), rows * draws
    exact = posterior.probabilities(*ORACLE.categories)[::draws]
    others = [name for name in ORACLE.scalars if name not in names]
    drawn = run.draw(given, Sampling(steps=steps), rows=count, seed=6, marginal=others)

    def total_variation(values: Rows) -> float:
        first, second = (values[name].long() for name in ORACLE.categories)
        cells = torch.arange(count) // draws * exact[0].numel() + first * exact.shape[2] + second
        shares = torch.bincount(cells, minlength=exact.numel()).double().reshape(exact.shape) / draws
        return float((shares - exact).abs().sum((1, 2)).mean() / 2)

    return total_variation(drawn), total_variation(posterior.sample(Rng.for_rows(count, "categories", "exact")))
