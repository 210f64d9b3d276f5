"""Scores of predictive distributions: of numbers by draws, of labels by probabilities."""

import numpy as np
from jaxtyping import Bool, Float64, Int64

LEAST_PROBABILITY = 1e-4
"""Lower bound of probabilities in logarithms, so that a label of probability 0 has a log loss of 9.2 nats."""


def crps(draws: Float64[np.ndarray, "n k"], truth: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Return the continuous ranked probability score of each row, in the variable's unit; lower is better.

    The estimate is unbiased for the draws' distribution (Ferro 2014), from two draws.
    """
    count = draws.shape[1]
    if count < 2:
        raise ValueError(f"{count} draw per row; the score needs 2 or more")
    return np.abs(draws - truth[:, None]).mean(1) - _spread(draws) * count / (count - 1)


def crps_of_values(values: Float64[np.ndarray, "n k"], truth: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Return the same for the discrete uniform distribution of these values."""
    return np.abs(values - truth[:, None]).mean(1) - _spread(values)


def _spread(values: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n"]:
    """Return half the mean absolute difference over all ordered pairs of a row, including each value with itself."""
    count = values.shape[1]
    return (np.sort(values, 1) * (2 * np.arange(1, count + 1) - count - 1)).sum(1) / count**2


def interval(
    draws: Float64[np.ndarray, "n k"], level: float = 0.9
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Return the bounds of each row's central interval.

    Quantiles are at position p(k + 1) of k draws, so that exact draws have coverage ``level`` for any k.
    """
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=1, method="weibull")
    return low, high


def number_scores(
    draws: Float64[np.ndarray, "n k"], means: Float64[np.ndarray, "n"], truth: Float64[np.ndarray, "n"]
) -> dict[str, Float64[np.ndarray, "n"]]:
    """Return by row ``crps``, ``squared`` error of the mean, and ``covered`` and ``width`` of the 90 % interval."""
    low, high = interval(draws)
    return {
        "crps": crps(draws, truth),
        "squared": (means - truth) ** 2,
        "covered": ((low <= truth) & (truth <= high)).astype(float),
        "width": high - low,
    }


def label_scores(
    probabilities: Float64[np.ndarray, "n k"], truth: Int64[np.ndarray, "n"]
) -> dict[str, Float64[np.ndarray, "n"]]:
    """Return by row ``log_loss`` in nats, ``brier`` (squared distance from the indicators, 0 to 2), and ``wrong``."""
    chance = np.take_along_axis(probabilities, truth[:, None], 1)[:, 0]
    indicators = np.eye(probabilities.shape[1])[truth]
    return {
        "log_loss": -np.log(np.maximum(chance, LEAST_PROBABILITY)),
        "brier": ((probabilities - indicators) ** 2).sum(1),
        "wrong": (probabilities.argmax(1) != truth).astype(float),
    }


def share_between(draws: Float64[np.ndarray, "n k"], distance: Float64[np.ndarray, "n"]) -> float:
    """Return the fraction of draws that are nearer to 0 than ``distance``."""
    return float((np.abs(draws) < distance[:, None]).mean())


def width_ratios(
    draws: Float64[np.ndarray, "n k"],
    exact: Float64[np.ndarray, "n m"],
    groups: Int64[np.ndarray, "n"],
) -> list[float]:
    """Return the median over each group's rows of the 90 % interval's width over the exact one's."""
    ratio = np.subtract(*interval(draws)[::-1]) / np.subtract(*interval(exact)[::-1])
    return [float(np.median(ratio[groups == group])) for group in range(int(groups.max()) + 1)]


def mean_ranks(scores: Float64[np.ndarray, "tasks methods"]) -> Float64[np.ndarray, "methods"]:
    """Return the mean over tasks of each method's rank (1 is the lowest score); ties have the mean of their ranks.

    Tasks without a result of a method (NaN) are omitted.
    """
    whole = scores[~np.isnan(scores).any(1)]
    below: Bool[np.ndarray, "t m m"] = whole[:, None, :] < whole[:, :, None]
    ties = (whole[:, None, :] == whole[:, :, None]).sum(2)
    return (below.sum(2) + (ties + 1) / 2).mean(0)


def mean_and_error(values: Float64[np.ndarray, "n"]) -> tuple[float, float]:
    """Return the mean and its standard error, NaN for a single value."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return float(np.mean(values)), error
