"""Tasks with any-conditionals on a fine grid: a tree and a hidden Markov model (Gloeckler et al. 2024, A2.2)."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int64

from benchmarks.simulators import AbstractTask, Evidence, Values, named


def _on_grid(
    rng: np.random.Generator,
    grid: Float64[np.ndarray, "g"],
    log_weight: Float64[np.ndarray, "m g"],
    rows: Int64[np.ndarray, "n"],
) -> tuple[Int64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Draw from densities given on evenly spaced points: the index of a point, and a uniform value in its cell."""
    total = np.cumsum(np.exp(log_weight - log_weight.max(1, keepdims=True)), 1)
    total /= total[:, -1:]
    which = np.arange(len(total))[:, None]
    # Concatenated distribution functions rise from 0 to the number of rows, so that one search is enough
    place = np.searchsorted((total + which).ravel(), rng.random(len(rows)) + rows) - rows * len(grid)
    place = place.clip(0, len(grid) - 1)
    spacing = grid[1] - grid[0] if len(grid) > 1 else 0.0
    return place, grid[place] + rng.uniform(-0.5, 0.5, len(place)) * spacing


def _log_normal(x: np.ndarray | float, mean: np.ndarray | float, sd: float) -> np.ndarray:
    return np.asarray(-0.5 * ((x - mean) / sd) ** 2)


class Tree(AbstractTask):
    """Nonlinear Gaussian tree: theta1 is the parent of theta2 and theta3, which have two data each. Final.

    Reference draws are from two fine grids, of theta2 and of theta3 given theta2, with theta1 integrated out.
    """

    name, parameters, data, any_given = "tree", named("theta", 3), named("x", 4), True
    grid = np.linspace(-7, 7, 1401)
    spreads: Mapping[str, float] = {"x1": 0.2, "x2": 0.2, "x3": 0.6, "x4": 0.1}

    @staticmethod
    def means(second: np.ndarray, third: np.ndarray) -> dict[str, np.ndarray]:
        """Return the means of the data given theta2 and theta3."""
        return {"x1": np.sin(second) ** 2, "x2": 0.1 * second**2, "x3": 0.1 * third**2, "x4": np.cos(third) ** 2}

    def simulate(self, rng: np.random.Generator, rows: int) -> Values:
        first = rng.normal(size=rows)
        second, third = first + rng.normal(size=(2, rows))
        means = self.means(second, third)
        data = {name: rng.normal(means[name], spread) for name, spread in self.spreads.items()}
        return {"theta1": first, "theta2": second, "theta3": third, **data}

    def _reference(self, rng: np.random.Generator, given: Evidence, rows: int) -> Values:
        second = np.array([given["theta2"]]) if "theta2" in given else self.grid
        third = np.array([given["theta3"]]) if "theta3" in given else self.grid
        left, right = self.means(second, second), self.means(third, third)
        log_left = sum(
            (_log_normal(given[name], left[name], self.spreads[name]) for name in ("x1", "x2") if name in given),
            np.zeros_like(second),
        )
        log_right = sum(
            (_log_normal(given[name], right[name], self.spreads[name]) for name in ("x3", "x4") if name in given),
            np.zeros_like(third),
        )
        if "theta1" in given:
            top = given["theta1"]
            log_left, log_right = log_left + _log_normal(second, top, 1), log_right + _log_normal(third, top, 1)
            link = np.zeros((len(second), 1))
        else:  # covariance [[2, 1], [1, 2]] of theta2 and theta3
            link = -(second[:, None] ** 2 - second[:, None] * third + third**2) / 3
        pair = link + log_right
        peak = pair.max(1, keepdims=True)
        below = (peak + np.log(np.exp(pair - peak).sum(1, keepdims=True)))[:, 0]
        place, drawn_second = _on_grid(rng, second, (log_left + below)[None], np.zeros(rows, np.int64))
        _, drawn_third = _on_grid(rng, third, np.broadcast_to(pair, (len(second), len(third))), place)
        first = np.full(rows, given.get("theta1", 0.0))
        if "theta1" not in given:
            first = rng.normal((drawn_second + drawn_third) / 3, math.sqrt(1 / 3))
        means = self.means(drawn_second, drawn_third)
        drawn = {"theta1": first, "theta2": drawn_second, "theta3": drawn_third}
        drawn |= {name: rng.normal(means[name], spread) for name, spread in self.spreads.items()}
        return {name: value for name, value in drawn.items() if name not in given}


class HMM(AbstractTask):
    """Markov chain of ten Gaussian increments, whose squares are observed with noise; all sds are .5. Final.

    Reference draws are by forward filtering and backward sampling on a fine grid.
    """

    name, parameters, data, any_given = "hmm", named("theta", 10), named("x", 10), True
    factors = (parameters, *zip(parameters, data, strict=True))
    """The chain's conditional independences are omitted: information would have to pass along nine other variables."""
    scales: Mapping[str, tuple[float, float]] = {
        **dict.fromkeys(parameters, (-1.2, 1.2)),
        **dict.fromkeys(data, (-1.0, 3.8)),
    }
    grid = np.linspace(-6, 6, 601)

    def simulate(self, rng: np.random.Generator, rows: int) -> Values:
        theta = np.cumsum(rng.normal(0, 0.5, (10, rows)), 0)
        x = rng.normal(theta**2, 0.5)
        return dict(zip(self.names, [*theta, *x], strict=True))

    def _reference(self, rng: np.random.Generator, given: Evidence, rows: int) -> Values:
        grids = [np.array([given[name]]) if name in given else self.grid for name in self.parameters]
        filtered: list[np.ndarray] = []
        for place, (grid, datum) in enumerate(zip(grids, self.data, strict=True)):
            if place == 0:
                log_weight = _log_normal(grid, 0.0, 0.5)
            else:
                pair = filtered[-1][:, None] + _log_normal(grid[None], grids[place - 1][:, None], 0.5)
                peak = pair.max(0)
                log_weight = peak + np.log(np.exp(pair - peak).sum(0))
            if datum in given:
                log_weight = log_weight + _log_normal(given[datum], grid**2, 0.5)
            filtered.append(log_weight)
        theta = np.empty((10, rows))
        for place in reversed(range(10)):
            log_weight = np.broadcast_to(filtered[place], (rows, len(grids[place])))
            if place < 9:
                log_weight = log_weight + _log_normal(theta[place + 1][:, None], grids[place][None], 0.5)
            _, theta[place] = _on_grid(rng, grids[place], log_weight, np.arange(rows))
        drawn = dict(zip(self.names, [*theta, *rng.normal(theta**2, 0.5)], strict=True))
        return {name: value for name, value in drawn.items() if name not in given}
