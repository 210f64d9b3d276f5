"""Conditional calibration: tests of predicted distributions in every region of the predictors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas
from jaxtyping import Float64, Int64
from scipy import stats

from metavoxel.evaluation.metrics.bootstrap import clusters
from metavoxel.evaluation.metrics.ranks import COMPONENTS, components, crps, transforms
from metavoxel.evaluation.metrics.regions import Region, masks
from metavoxel.evaluation.metrics.scores import LEAST_PROBABILITY

NOMINAL = 0.9
"""Nominal coverage of the tested central interval, if there are enough draws."""

LEVEL = 0.01
"""Family-wise level over the regions and tests of a question: one in a hundred is significant for a perfect model."""

FEWEST_ROWS = 10
"""Fewest rows of a tested region."""

CHANCE, FEW = "within chance", "few rows"

ALL_ROWS = "all rows"


class _Test(NamedTuple):
    """One test in every region: z-scores, two-sided p-values, and the findings for z below and above 0."""

    name: str
    z: Float64[np.ndarray, "r"]
    p: Float64[np.ndarray, "r"]
    below: str
    above: str


def nominal_coverage(draws: int) -> float:
    """Nominal coverage of the tested interval: ``NOMINAL``, or for few draws that of their range."""
    return min(NOMINAL, 1 - 2 / (draws + 1))


def number_regions(
    regions: Sequence[Region],
    draws: Float64[np.ndarray, "n k"],
    truth: Float64[np.ndarray, "n"],
    subjects: Sequence[str],
    *,
    seed: int = 0,
) -> pandas.DataFrame:
    """Coverage, interval width and CRPS of a number's draws, one row for all rows and one per region.

    Each region is tested against calibrated draws: coverage by a binomial test, and the distribution of ranks by four
    components of a uniformity test (:func:`metavoxel.evaluation.metrics.ranks.components`). All tests use randomised
    ranks, so that ties do not bias them.

    Args:
        regions: regions of the predictors.
        draws: draws of each row, at least two.
        truth: true values; rows with NaN are left out.
        subjects: subject of each row; rows of one subject are not treated as independent.
        seed: seed of the randomised ranks.
    """
    known = np.isfinite(truth)
    inside, names = _regions(regions, known)
    owner, draws, truth = _owners(subjects, known), draws[known], truth[known]
    nominal = nominal_coverage(draws.shape[1])
    low, high = np.quantile(draws, [(1 - nominal) / 2, (1 + nominal) / 2], axis=1, method="weibull")
    covered = ((low <= truth) & (truth <= high)).astype(np.float64)
    u = transforms(draws, truth, seed=seed)
    count = inside.sum(0)
    # Closed intervals of discrete values cover more than the nominal share; randomised ranks do not.
    within = (np.abs(u - 0.5) < nominal / 2).astype(np.float64)
    variance = nominal * (1 - nominal) * count + _dependence(within - nominal, inside, owner)
    z = _ratio((within - nominal) @ inside, np.sqrt(variance))
    hits = within @ inside
    exact = 2 * np.minimum(stats.binom.cdf(hits, count, nominal), stats.binom.sf(hits - 1, count, nominal))
    p = np.minimum(1.0, exact) if len(np.unique(owner)) == len(owner) else _two_sided(z)
    tests = [_Test("coverage", z, p, "too narrow", "too wide")]
    findings = {"centre": ("too high", "too low"), "spread": ("too wide", "too narrow")}
    for name, values in zip(COMPONENTS, components(u).T, strict=True):
        z = _ratio(values @ inside, np.sqrt(count + _dependence(values, inside, owner)))
        tests.append(_Test(name, z, _two_sided(z), *findings.get(name, ("wrong shape", "wrong shape"))))
    width, width_error = _means(high - low, inside, owner)
    score, score_error = _means(crps(draws, truth), inside, owner)
    found = {
        "coverage": _ratio(covered @ inside, count), "coverage se": _ratio(np.sqrt(variance), count),
        "nominal": nominal, "width": width, "width se": width_error,
        "CRPS": score, "CRPS se": score_error,
    }  # fmt: skip
    return _frame(names, count, found, tests)


def label_regions(
    regions: Sequence[Region],
    p: Float64[np.ndarray, "n c"],
    truth: Int64[np.ndarray, "n"],
    subjects: Sequence[str],
    classes: Sequence[str],
    *,
    of_draws: bool = False,
) -> pandas.DataFrame:
    """Log score of a label's probabilities, and the class with the least calibrated frequency, by region.

    Tests compare each class's count with the sum of its probabilities, and the log score with its expectation, the
    entropy: above it, probabilities are over-confident, below it under-confident. Variances are the predicted ones, or
    the empirical ones where larger, so that a single event of probability near 0 is not significant.

    Args:
        regions, subjects: as for :func:`number_regions`.
        p: class probabilities of each row; rows with NaN are left out.
        truth: class index of each row; -1 where missing.
        classes: names of the columns of ``p``.
        of_draws: whether ``p`` are frequencies among a few draws, which look over-confident; confidence is then not
            tested.
    """
    known = (truth >= 0) & np.isfinite(p).all(1)
    inside, names = _regions(regions, known)
    owner, truth = _owners(subjects, known), truth[known]
    p = np.clip(p[known], LEAST_PROBABILITY, 1)
    p = p / p.sum(1, keepdims=True)
    count, hit, logs = inside.sum(0), np.eye(p.shape[1])[truth], np.log(p)
    score = -logs[np.arange(len(p)), truth]
    entropy = -(p * logs).sum(1)
    tests, columns = [], [1] if p.shape[1] == 2 else list(range(p.shape[1]))
    for place in columns:
        z = _standardised(hit[:, place] - p[:, place], p[:, place] * (1 - p[:, place]), inside, owner)
        name = classes[place]
        tests.append(_Test(name, z, _two_sided(z), f"too much {name}", f"too little {name}"))
    z = _standardised(score - entropy, (p * logs**2).sum(1) - entropy**2, inside, owner)
    each = np.abs(np.stack([test.z for test in tests]))
    if not of_draws:
        tests.append(_Test("confidence", z, _two_sided(z), "not sure enough", "too sure"))
    worst = np.where(np.isfinite(each), each, -1).argmax(0)
    chosen = np.array(columns)[worst], np.arange(inside.shape[1])
    mean, error = _means(score, inside, owner)
    found = {
        "log score": mean, "log score se": error, "log score expected": _ratio(entropy @ inside, count),
        "class": [classes[place] for place in chosen[0]],
        "probability": _ratio(p.T @ inside, count)[chosen], "frequency": _ratio(hit.T @ inside, count)[chosen],
    }  # fmt: skip
    frame = _frame(names, count, found, tests)
    return frame.drop(columns=[f"z {classes[place]}" for place in columns])


def _regions(regions: Sequence[Region], known: np.ndarray) -> tuple[Float64[np.ndarray, "m r"], list[tuple[str, str]]]:
    """Membership of the known rows in each region, all rows first, and the regions' names; without empty regions."""
    inside = masks(regions, len(known))[known]
    some = inside.any(0)
    names = [(region.variable, region.label) for region, there in zip(regions, some, strict=True) if there]
    every = np.ones((int(known.sum()), 1))
    return np.concatenate([every, inside[:, some]], 1).astype(np.float64), [(ALL_ROWS, ""), *names]


def _owners(subjects: Sequence[str], known: np.ndarray) -> Int64[np.ndarray, "m"]:
    return clusters([subject for subject, keep in zip(subjects, known, strict=True) if keep])


def _sums(values: Float64[np.ndarray, "m"], inside: Float64[np.ndarray, "m r"], owner: np.ndarray) -> np.ndarray:
    """Sums over each subject's rows in each region."""
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
    return np.add.reduceat((inside * values[:, None])[order], starts, axis=0)


def _dependence(values: Float64[np.ndarray, "m"], inside: np.ndarray, owner: np.ndarray) -> Float64[np.ndarray, "r"]:
    """Contribution of repeated rows of subjects to the variance of a sum, at least 0; 0 where each has one row."""
    if len(np.unique(owner)) == len(owner):
        return np.zeros(inside.shape[1])
    return np.maximum(0.0, (_sums(values, inside, owner) ** 2).sum(0) - values**2 @ inside)


def _standardised(
    values: Float64[np.ndarray, "m"], variance: Float64[np.ndarray, "m"], inside: np.ndarray, owner: np.ndarray
) -> Float64[np.ndarray, "r"]:
    """z-score of a sum of zero-mean values, by the larger of the predicted and the empirical variance."""
    most = np.maximum(variance @ inside, values**2 @ inside) + _dependence(values, inside, owner)
    return _ratio(values @ inside, np.sqrt(most))


def _means(values: Float64[np.ndarray, "m"], inside: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean in each region and its standard error over subjects (ddof 1); NaN for one subject."""
    count = inside.sum(0)
    mean = _ratio(values @ inside, count)
    if len(np.unique(owner)) == len(owner):
        number, squares = count, values**2 @ inside - count * mean**2
    else:
        sums, rows = _sums(values, inside, owner), _sums(np.ones(len(values)), inside, owner)
        number, squares = (rows > 0).sum(0).astype(np.float64), ((sums - rows * mean) ** 2).sum(0)
    factor = _ratio(number, number - 1)
    return mean, _ratio(np.sqrt(np.maximum(0.0, squares) * np.where(number > 1, factor, np.nan)), count)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; where b is 0, 0 if a is as well, else NaN."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.divide(a, b, out=np.where(a == 0, 0.0, np.nan), where=b != 0)


def _two_sided(z: Float64[np.ndarray, "r"]) -> Float64[np.ndarray, "r"]:
    return 2 * stats.norm.sf(np.abs(z))


def _frame(
    names: Sequence[tuple[str, str]], count: np.ndarray, found: dict[str, object], tests: Sequence[_Test]
) -> pandas.DataFrame:
    """One row per region, with its most significant test and the p-value adjusted for all regions and tests."""
    z, p = np.stack([test.z for test in tests]), np.stack([test.p for test in tests])
    tested = count >= FEWEST_ROWS
    p = np.where(np.isfinite(z) & tested, np.maximum(p, 1e-300), np.inf)
    first = np.lexsort((-np.abs(np.nan_to_num(z)), p), axis=0)[0]
    worst = z[first, np.arange(len(count))]
    adjusted = np.minimum(1.0, p[first, np.arange(len(count))] * max(1, int(tested.sum())) * len(tests))
    findings = [
        FEW if not enough else CHANCE if not chance < LEVEL else tests[test].below if score < 0 else tests[test].above
        for enough, chance, test, score in zip(tested, adjusted, first, worst, strict=True)
    ]
    return pandas.DataFrame({
        "predictor": [variable for variable, _ in names],
        "region": [label for _, label in names],
        "rows": count.astype(np.int64),
        **found,
        **{f"z {test.name}": test.z for test in tests},
        "z": np.where(tested, worst, np.nan),
        "test": [tests[test].name if enough else "" for test, enough in zip(first, tested, strict=True)],
        "p": np.where(tested, adjusted, np.nan),
        "finding": findings,
    })  # fmt: skip
