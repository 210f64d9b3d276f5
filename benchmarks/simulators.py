"""Tasks of simulation-based inference with exact reference draws: Lueckmann et al. (2021), Gloeckler et al. (2024).

Every task has a simulator of parameters and data, and exact draws from p(unknown | given): in closed form, by
rejection, or on a fine grid. Standard deviations are in the data's units.
"""

import csv
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

Values: TypeAlias = dict[str, Float64[np.ndarray, "n"]]
Evidence: TypeAlias = Mapping[str, float]


class AbstractTask(ABC):
    """A simulator and its exact conditionals.

    Attributes:
        name: as on the command line.
        parameters: names of the parameters.
        data: names of the simulated data.
        any_given: whether any subset may be given; else all data and nothing else.
        factors: groups of variables over which the joint density factorises, if a model is given them; none by default.
        wholes: groups of variables that random evidence has in full or not at all; by default each variable is one.
        scales: values encoded as -1 and 1, common to variables of one unit; by default each variable has its own.
        box: bound of the parameters' absolute values under the prior; None if unbounded.
    """

    name: str
    parameters: tuple[str, ...]
    data: tuple[str, ...]
    any_given: bool = False
    factors: tuple[tuple[str, ...], ...] = ()
    wholes: tuple[tuple[str, ...], ...] = ()
    scales: Mapping[str, tuple[float, float]] = {}
    box: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of parameters, then data."""
        return (*self.parameters, *self.data)

    def observations(self) -> list[dict[str, float]]:
        """Return the observations of the published posteriors of this task, if any.

        They are those of the benchmark's repository (sbibm, MIT licence), which excludes extremely spiked posteriors.
        """
        path = Path(__file__).parent / "observations" / f"{self.name}.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    @abstractmethod
    def simulate(self, rng: np.random.Generator, rows: int) -> Values:
        """Draw all variables jointly, with parameters from the prior."""

    def reference(self, rng: np.random.Generator, given: Evidence, rows: int) -> Values:
        """Draw all unknown variables from their exact conditional.

        Raises:
            ValueError: evidence without an exact conditional.
        """
        if not self.any_given and set(given) != set(self.data):
            raise ValueError(f"task {self.name!r} has conditionals given {', '.join(self.data)} only")
        if not given:
            return self.simulate(rng, rows)
        return self._reference(rng, given, rows)

    @abstractmethod
    def _reference(self, rng: np.random.Generator, given: Evidence, rows: int) -> Values: ...


def named(stem: str, count: int) -> tuple[str, ...]:
    """Return names numbered from 1."""
    return tuple(f"{stem}{index}" for index in range(1, count + 1))


class TwoMoons(AbstractTask):
    """Two crescents: theta uniform in [-1, 1]^2, a point of a half ring of radius .1 moved by theta. Final."""

    name, parameters, data = "two_moons", named("theta", 2), named("x", 2)
    box = 1.0

    @staticmethod
    def _crescent(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        angle, radius = rng.uniform(-math.pi / 2, math.pi / 2, rows), rng.normal(0.1, 0.01, rows)
        return radius * np.cos(angle) + 0.25, radius * np.sin(angle)

    def simulate(self, rng: np.random.Generator, rows: int) -> Values:
        first, second = rng.uniform(-1, 1, (2, rows))
        across, along = self._crescent(rng, rows)
        shift = -np.abs(first + second) / math.sqrt(2), (second - first) / math.sqrt(2)
        return {"theta1": first, "theta2": second, "x1": across + shift[0], "x2": along + shift[1]}

    def _reference(self, rng: np.random.Generator, given: Evidence, rows: int) -> Values:
        """Draw theta from the two rotated images of x minus a crescent point, rejecting those outside the prior."""
        found, kept = np.empty((0, 2)), 0
        while kept < rows:
            across, along = self._crescent(rng, 4 * rows)
            total = (across - given["x1"]) * math.sqrt(2)  # |theta1 + theta2|
            difference = (given["x2"] - along) * math.sqrt(2)  # theta2 - theta1
            signed = total * rng.choice([-1.0, 1.0], len(total))
            theta = np.stack([(signed - difference) / 2, (signed + difference) / 2], 1)
            found = np.concatenate([found, theta[(total >= 0) & (np.abs(theta) <= 1).all(1)]])
            kept = len(found)
        return {"theta1": found[:rows, 0], "theta2": found[:rows, 1]}


class GaussianLinear(AbstractTask):
    """Ten pairs: theta normal with variance .1, x normal about theta with variance .1. Final."""

    name, parameters, data, any_given = "gaussian_linear", named("theta", 10), named("x", 10), True
    factors = tuple(zip(parameters, data, strict=True))

    def simulate(self, rng: np.random.Generator, rows: int) -> Values:
        theta = rng.normal(0, math.sqrt(0.1), (10, rows))
        x = theta + rng.normal(0, math.sqrt(0.1), (10, rows))
        return dict(zip(self.names, [*theta, *x], strict=True))

    def _reference(self, rng: np.random.Generator, given: Evidence, rows: int) -> Values:
        drawn: Values = {}
        for parameter, datum in zip(self.parameters, self.data, strict=True):
            theta = np.full(rows, given.get(parameter, 0.0))
            if parameter not in given:
                mean, variance = (given[datum] / 2, 0.05) if datum in given else (0.0, 0.1)
                theta = drawn[parameter] = rng.normal(mean, math.sqrt(variance), rows)
            if datum not in given:
                drawn[datum] = rng.normal(theta, math.sqrt(0.1))
        return {name: drawn[name] for name in self.names if name in drawn}


class GaussianMixture(AbstractTask):
    """Theta uniform in [-10, 10]^2, x about it with standard deviation 1 or .1 with equal probability. Final."""

    name, parameters, data = "gaussian_mixture", named("theta", 2), named("x", 2)
    box = 10.0

    @staticmethod
    def _noise(rng: np.random.Generator, rows: int) -> np.ndarray:
        return rng.choice([1.0, 0.1], (rows, 1)) * rng.normal(size=(rows, 2))

    def simulate(self, rng: np.random.Generator, rows: int) -> Values:
        theta = rng.uniform(-10, 10, (rows, 2))
        x = theta + self._noise(rng, rows)
        return {"theta1": theta[:, 0], "theta2": theta[:, 1], "x1": x[:, 0], "x2": x[:, 1]}

    def _reference(self, rng: np.random.Generator, given: Evidence, rows: int) -> Values:
        found = np.empty((0, 2))
        while len(found) < rows:
            theta = np.array([given["x1"], given["x2"]]) - self._noise(rng, 4 * rows)
            found = np.concatenate([found, theta[(np.abs(theta) <= 10).all(1)]])
        return {"theta1": found[:rows, 0], "theta2": found[:rows, 1]}
