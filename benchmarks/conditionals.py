"""Measures of a model's conditionals against the exact ones of the analytic joint."""

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
    """Exact draws of the joint that were not trained on."""
    return ORACLE.sample(Rng.for_rows(rows, "benchmark analytic", "test rows", purpose))


def part(rows: Rows, names: Sequence[str]) -> dict[str, Tensor]:
    """The columns of some variables."""
    return {name: rows[name] for name in names}


class Measured(NamedTuple):
    """A mean over rows, and its standard error."""

    mean: float
    error: float


class Errors(NamedTuple):
    """Of one evidence set: squared error over Bayes (NaN without a scalar), class probabilities (NaN without one)."""

    names: tuple[str, ...]
    ratio: float
    probabilities: float


def read_out(run: TableRun, rows: int, evaluations: int) -> Iterator[Errors]:
    """Posterior means against exact ones, over fresh rows, for every evidence set.

    The squared error against a new value of the variable is, in expectation, its exact posterior variance plus the
    squared distance of the prediction from the exact mean; that is what is averaged, for it has the least noise.
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
    """All variables as columns."""
    return np.stack([rows[name].double().numpy() for name in ORACLE.names], 1)


def two_samples(run: TableRun, sampling: Sampling, names: Sequence[str], rows: int) -> float:
    """C2ST of exact joint rows against others whose unknown part was drawn by the model from their evidence.

    The two have no row in common, so that only a wrong conditional can tell them apart.
    """
    given = part(fresh(rows, "evidence"), names)
    drawn = run.draw(given, sampling, rows=rows, seed=2)
    return c2st(matrix(fresh(rows, "reference")), matrix(given | drawn))


def squared_error(run: TableRun, sampling: Sampling, names: Sequence[str], rows: int) -> Float64[Tensor, "rows"]:
    """Squared error, over Bayes, of the mean of endlessly many draws: what each row adds to it, whose mean it is.

    Two draws whose errors are independent given the evidence suffice: the mean product of their distances from the
    exact mean is the squared distance of the method's own mean.
    """
    given = part(fresh(rows, "squared error"), names)
    exact = ORACLE.given(given)
    first, second = (run.draw(given, sampling, rows=rows, seed=seed) for seed in (3, 4))
    scalars = [name for name in ORACLE.scalars if name not in names]
    products = torch.stack([(first[n] - exact.mean(n)) * (second[n] - exact.mean(n)) for n in scalars]).sum(0)
    return 1 + products / sum(float(exact.variance(name).mean()) for name in scalars)


def mean_of(found: Sequence[Float64[Tensor, "rows"]]) -> Measured:
    """The mean over evidence sets and rows; a row keeps its streams under several sets, so its errors go together."""
    return _mean(torch.stack(list(found)).mean(0))


def _mean(rows: Float64[Tensor, "rows"]) -> Measured:
    return Measured(float(rows.mean()), float(rows.std() / len(rows) ** 0.5))


def coverage(run: TableRun, sampling: Sampling, rows: int, draws: int) -> Measured:
    """Share of the exact conditional that 90 % intervals of a model's draws hold.

    Every row has an evidence set of its own and one scalar to predict, the rest integrated out. Quantiles are at
    Weibull's plotting positions, as those of predictions are: of exact draws they cover .9.
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
    """Total variation, of each row, between the categories' joint by the chain rule and the exact one.

    The second category is asked given each class of the first, an evaluation each, so that the law of draws one after
    the other is had without any.
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
    """The same of both drawn in one walk: mean over rows, from ``draws`` of each; then that of so many exact draws."""
    given = {name: value.repeat_interleave(draws) for name, value in part(fresh(rows, "categories"), names).items()}
    posterior, count = ORACLE.given(given, rows=rows * draws), rows * draws
    exact = posterior.probabilities(*ORACLE.categories)[::draws]
    others = [name for name in ORACLE.scalars if name not in names]
    drawn = run.draw(given, Sampling(steps=steps), rows=count, seed=6, marginal=others)

    def apart(values: Rows) -> float:
        first, second = (values[name].long() for name in ORACLE.categories)
        cells = torch.arange(count) // draws * exact[0].numel() + first * exact.shape[2] + second
        shares = torch.bincount(cells, minlength=exact.numel()).double().reshape(exact.shape) / draws
        return float((shares - exact).abs().sum((1, 2)).mean() / 2)

    return apart(drawn), apart(posterior.sample(Rng.for_rows(count, "categories", "exact")))
