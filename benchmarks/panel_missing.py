"""Thirteen missingness mechanisms, similar to those of MissBench (Feitelberg et al. 2025).

Implemented from the mechanisms' descriptions. All remove about the same fraction of the cells they act on. MAR
mechanisms act on half of the columns, given the others, which are complete; most of the others act on all columns.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import pandas
from jaxtyping import Bool, Float64
from numpy.random import Generator
from sklearn.cluster import KMeans

Kind = Literal["MCAR", "MAR", "MNAR"]
Values = Float64[np.ndarray, "n d"]
Score = Callable[[Values, Generator], Values]
"""From usable standardised values to a score of each cell, which increases with its probability to be missing."""
CLUSTERS, GROUPS, STRIPES = 5, 3, 10


@final
@dataclass(frozen=True)
class Mechanism:
    """A missingness mechanism.

    Args:
        kind: completely at random, at random, or not at random.
        about: description.
        score: see ``Score``; a MAR mechanism has the complete columns only.
        how: 'chance' draws each cell with a probability that is logistic in the score, 'rows' all cells of a row
            together; 'most' removes the cells of highest score in each column, 'dropout' all cells after the first one.
    """

    kind: Kind
    about: str
    score: Score
    how: Literal["chance", "rows", "most", "dropout"] = "chance"


def removed(mechanism: Mechanism, rows: pandas.DataFrame, random: Generator, *, share: float = 0.3) -> pandas.DataFrame:
    """Return the mask of removed cells, which may include missing ones; these have the column's mean in scores.

    Args:
        mechanism: of the removal.
        rows: the table, categories as whole numbers.
        random: numpy's generator.
        share: removed fraction of the cells that the mechanism acts on.
    """
    spread = rows.std(ddof=0)
    values = ((rows - rows.mean()) / spread.where(spread > 0, 1.0)).fillna(0.0).to_numpy(float)
    acted = np.ones(values.shape[1], dtype=bool)
    if mechanism.kind == "MAR":
        acted[random.permutation(len(acted))[: (len(acted) + 1) // 2]] = False
    elif mechanism.how == "dropout":
        acted[0] = False
    shown = values[:, ~acted] if mechanism.kind == "MAR" else values
    score = mechanism.score(shown, random)
    if score.shape[1] != len(acted):  # scores of the complete columns, cyclically
        score = score[:, np.resize(random.permutation(score.shape[1]), len(acted))]
    gone = _taken(score[:, acted], mechanism.how, share, random)
    found = np.zeros(values.shape, dtype=bool)
    found[:, acted] = gone
    return pandas.DataFrame(found, rows.index, rows.columns)


def _taken(score: Values, how: str, share: float, random: Generator) -> Bool[np.ndarray, "n d"]:
    count = len(score)
    if how == "most":
        order = np.lexsort((random.random(score.shape), score), axis=0)
        ranks = np.empty(score.shape, dtype=int)
        np.put_along_axis(ranks, order, np.arange(count)[:, None], 0)
        return ranks >= count - round(share * count)
    if how == "dropout":

        def chance(level: float) -> Values:
            return 1 - np.cumprod(1 - _logistic(score + level), 1)

        level = _level(lambda level: float(chance(level).mean()), share)
        return np.logical_or.accumulate(random.random(score.shape) < _logistic(score + level), 1)
    levels = [_level(lambda level, column=column: float(_logistic(column + level).mean()), share) for column in score.T]
    drawn = np.repeat(random.random((count, 1)), score.shape[1], 1) if how == "rows" else random.random(score.shape)
    return drawn < _logistic(score + np.array(levels))


def _logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def _level(mean: Callable[[float], float], share: float) -> float:
    """Return the argument at which an increasing function is ``share``, by bisection."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < share else (low, middle)
    return low


def _signs(values: Values, random: Generator) -> Float64[np.ndarray, "d"]:
    return np.where(random.random(values.shape[1]) < 0.5, -1.0, 1.0)


def _network(values: Values, random: Generator) -> Values:
    """Return standardised outputs of a random network with one hidden layer, one per column, times 2."""
    width = values.shape[1]
    hidden = np.tanh(values @ random.normal(0, 1.5 / np.sqrt(width), (width, 16)) + random.normal(0, 0.5, 16))
    out = hidden @ random.normal(0, 1, (16, width))
    return 2 * (out - out.mean(0)) / np.maximum(out.std(0), 1e-12)


def _components(values: Values, count: int) -> Values:
    """Return standardised scores on the leading principal components."""
    centred = values - values.mean(0)
    left, _, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :count] * np.sqrt(len(values))


def _latent(values: Values, random: Generator) -> Values:
    factors = _components(values, 2)
    return 2 * factors @ random.normal(0, np.sqrt(0.5), (factors.shape[1], values.shape[1]))


def _clusters(values: Values, random: Generator) -> Values:
    number = int(random.integers(2**31))
    cluster = KMeans(CLUSTERS, n_init=3, random_state=number).fit_predict(values)
    return random.normal(0, 1.5, (CLUSTERS, GROUPS))[cluster][:, random.integers(0, GROUPS, values.shape[1])]


def _blocks(values: Values, random: Generator) -> Values:
    place = _components(values, 1)[:, 0].argsort().argsort()
    stripe = place * STRIPES // len(values)
    return random.random((STRIPES, GROUPS))[stripe][:, random.integers(0, GROUPS, values.shape[1])]


MECHANISMS: Mapping[str, Mechanism] = {
    "mcar": Mechanism("MCAR", "each cell by chance", lambda values, random: np.zeros(values.shape)),
    "mar_column": Mechanism(
        "MAR", "logistic in one complete column", lambda values, random: 2 * _signs(values, random) * values
    ),
    "mar_network": Mechanism("MAR", "a random network of the complete columns", _network),
    "mar_two_phase": Mechanism(
        "MAR",
        "a row's costly columns together, logistic in a sum of its complete ones",
        lambda values, random: np.repeat(_network(values, random)[:, :1], values.shape[1], 1),
        "rows",
    ),
    "mnar_self": Mechanism(
        "MNAR", "logistic in the cell's own value", lambda values, random: 2 * _signs(values, random) * values
    ),
    "mnar_censoring": Mechanism(
        "MNAR",
        "all cells on one side of a limit",
        lambda values, random: _signs(values, random) * values,
        "most",
    ),
    "mnar_middle": Mechanism(
        "MNAR", "the cells nearest the mean (polarisation)", lambda values, random: -np.abs(values), "most"
    ),
    "mnar_middle_soft": Mechanism(
        "MNAR", "the likelier, the nearer the mean", lambda values, random: -3 * np.abs(values)
    ),
    "mnar_network": Mechanism("MNAR", "a random network of the whole row", _network),
    "mnar_latent": Mechanism("MNAR", "logistic in two principal components of the row", _latent),
    "mnar_cluster": Mechanism("MNAR", "by cluster of the row and group of the column", _clusters),
    "mnar_block": Mechanism("MNAR", "blocks of rows alike and of columns", _blocks, "most"),
    "mnar_dropout": Mechanism(
        "MNAR",
        "all columns from the first whose own value is missed on",
        lambda values, random: 1.5 * _signs(values, random) * values,
        "dropout",
    ),
}
