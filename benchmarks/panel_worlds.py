"""Tables of the panel with exactly known conditional distributions.

Each world has one predictor and one or two targets that are independent given it. Exact draws use the same
generating equations with a fixed predictor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas
from jaxtyping import Float64
from numpy.random import Generator

Columns = dict[str, Float64[np.ndarray, "n"]]
"""Values by variable, one per row."""


@final
@dataclass(frozen=True)
class World:
    """A generating process.

    Args:
        name: of the world.
        about: description of the conditional distribution, for tables.
        predictors: from the number of rows and a generator to the predictors' columns.
        targets: from the predictors' columns and a generator to one draw of every target per row.
    """

    name: str
    about: str
    predictors: Callable[[int, Generator], Columns]
    targets: Callable[[Mapping[str, np.ndarray], Generator], Columns]

    def sample(self, count: int, random: Generator) -> pandas.DataFrame:
        """Draw rows of the joint distribution: predictors, then targets."""
        given = self.predictors(count, random)
        return pandas.DataFrame({**given, **self.targets(given, random)})

    def exact(self, rows: pandas.DataFrame, count: int, random: Generator) -> dict[str, Float64[np.ndarray, "n k"]]:
        """Draw every target ``count`` times given the predictors of each row; other columns are ignored."""
        names = list(self.predictors(1, np.random.default_rng(0)))
        given = {name: np.repeat(rows[name].to_numpy(float), count) for name in names}
        return {name: values.reshape(len(rows), count) for name, values in self.targets(given, random).items()}


def _shapes(given: Mapping[str, np.ndarray], random: Generator) -> Columns:
    years = given["age"] - 30
    sign = np.where(random.random(len(years)) < 0.5, 1.0, -1.0)
    return {
        "bim": sign * shapes_mode(given["age"]) + random.normal(0, 0.4, len(years)),
        "het": 10 + random.normal(0, 1, len(years)) * (0.1 + 0.06 * years),
    }


def shapes_mode(age: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Return the distance from 0 of the two modes of ``bim`` in the world ``shapes``, by age in years."""
    return 4 * (age - 30) / 55


def _log_normal(given: Mapping[str, np.ndarray], random: Generator) -> Columns:
    x = given["x"]
    return {"y": np.exp(0.5 + x + (0.2 + 0.4 * x) * random.normal(0, 1, len(x)))}


def _zero_inflated(given: Mapping[str, np.ndarray], random: Generator) -> Columns:
    x = given["x"]
    zero = random.random(len(x)) < 1 / (1 + np.exp(x))
    return {"y": np.where(zero, 0.0, random.gamma(2.0, np.exp(0.5 + 0.5 * x)))}


def _bounded(given: Mapping[str, np.ndarray], random: Generator) -> Columns:
    mean = 1 / (1 + np.exp(-2 * given["x"]))
    return {"y": random.beta(3 * mean, 3 * (1 - mean))}


def _counts(given: Mapping[str, np.ndarray], random: Generator) -> Columns:
    return {"y": random.poisson(np.exp(0.5 + 0.7 * given["x"])).astype(float)}


def _two_branches(given: Mapping[str, np.ndarray], random: Generator) -> Columns:
    rising = np.arcsin(given["x"])
    branch = np.where(random.random(len(rising)) < 0.5, rising, np.pi - rising)
    angle = branch + random.normal(0, 0.15, len(rising))
    return {"angle": np.mod(angle + np.pi, 2 * np.pi) - np.pi}


def _normal(count: int, random: Generator) -> Columns:
    return {"x": random.normal(0, 1, count)}


WORLDS: Mapping[str, World] = {
    world.name: world
    for world in (
        World(
            "shapes",
            "bim: two normals at ±4(age-30)/55, sd .4; het: normal, sd .1 + .06(age-30)",
            lambda count, random: {"age": random.uniform(30, 85, count)},
            _shapes,
        ),
        World(
            "log_normal",
            "log y: normal, mean .5 + x, sd .2 + .4x",
            lambda count, random: {"x": random.uniform(0, 2, count)},
            _log_normal,
        ),
        World(
            "zero_inflated",
            "0 with chance 1/(1+exp(x)), else gamma, shape 2, scale exp(.5 + .5x)",
            _normal,
            _zero_inflated,
        ),
        World(
            "bounded",
            "beta(3m, 3(1-m)), m = 1/(1+exp(-2x))",
            lambda count, random: {"x": random.uniform(-1, 1, count)},
            _bounded,
        ),
        World("counts", "Poisson, mean exp(.5 + .7x)", _normal, _counts),
        World(
            "two_branches",
            "an angle: arcsin x or π - arcsin x, sd .15, within -π to π",
            lambda count, random: {"x": random.uniform(-1, 1, count)},
            _two_branches,
        ),
    )
}
