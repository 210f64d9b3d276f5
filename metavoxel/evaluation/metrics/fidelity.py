"""Fidelity of generated rows: marginal distributions of variables, and correlations of pairs."""

from typing import NamedTuple

import numpy as np
import pandas
from jaxtyping import Bool, Float64, Int64
from scipy import stats

from metavoxel.evaluation.rows import Rows

LEVEL = 0.01
"""Family-wise level over all variables, or over all pairs."""

FEWEST_OF_A_KIND = 5
"""Fewest rows with each value of an indicator, in both samples, for its correlations to be compared."""

LARGEST = 0.9999
"""Largest correlation in Fisher's transform; larger ones are clipped."""

EXPECTED = 5
"""Least expected count per cell of a chi-square test."""


class Pairs(NamedTuple):
    """Differences of correlations between two samples.

    Attributes:
        table: one row per pair of variables, the most significant first: correlations, their difference, z.
        rms: root mean square of the differences over all pairs.
        largest: the largest absolute difference.
        p: p-value of the most significant difference, adjusted for the number of pairs.
    """

    table: pandas.DataFrame
    rms: float
    largest: float
    p: float


def marginals(first: Rows, second: Rows) -> pandas.DataFrame:
    """Distances between the marginal distributions of each variable, one row each; ``p`` is not adjusted.

    For numbers, the Kolmogorov-Smirnov distance, and Wasserstein's in standard deviations of the second sample; for
    categories, the total variation, with the p-value of a chi-square test.
    """
    found = []
    for place, name in enumerate(first.names):
        a, b = (rows.values[rows.known[:, place], place] for rows in (first, second))
        row: dict[str, object] = {"variable": name, "rows": len(b)}
        if not len(a) or not len(b):
            continue
        if name in first.classes:
            size = len(first.classes[name])
            counts = np.stack([np.bincount(each.astype(np.int64), minlength=size) for each in (a, b)])
            shares = counts / counts.sum(1, keepdims=True)
            row |= {"total variation": float(np.abs(shares[0] - shares[1]).sum() / 2), "p": _chi_square(counts)}
        else:
            test = stats.ks_2samp(a, b, method="asymp")
            scale = b.std()
            distance = stats.wasserstein_distance(a, b)
            row |= {"Kolmogorov-Smirnov": float(test.statistic), "p": float(test.pvalue)}
            row |= {"Wasserstein (sd)": float(distance / scale) if scale > 0 else np.nan}
            row |= {"mean difference (sd)": float((a.mean() - b.mean()) / scale) if scale > 0 else np.nan}
        found.append(row)
    columns = [
        "variable",
        "rows",
        "Kolmogorov-Smirnov",
        "Wasserstein (sd)",
        "mean difference (sd)",
        "total variation",
        "p",
    ]
    return pandas.DataFrame(found).reindex(columns=columns)


def pairs(first: Rows, second: Rows) -> Pairs:
    """Differences of correlations over all pairs of variables.

    Numbers enter by their ranks (Spearman), categories by class indicators; of several indicators per pair, the most
    significant difference counts. z is Fisher's, with a standard error widened for large fourth moments, as of rare
    classes. Each pair is compared over the rows with both variables.
    """
    x, y = (_correlations(rows) for rows in (first, second))
    _, owners = first.encoded()
    apart = x.r - y.r
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt((1 / (x.rows - 3) + 1 / (y.rows - 3)) * np.maximum(1, (x.excess + y.excess) / 2))
        z = (np.arctanh(x.r.clip(-LARGEST, LARGEST)) - np.arctanh(y.r.clip(-LARGEST, LARGEST))) / error
    upper = owners[:, None] < owners[None, :]
    good = upper & x.usable & y.usable & (np.minimum(x.rows, y.rows) > FEWEST_OF_A_KIND + 3) & np.isfinite(z)
    a, b = np.nonzero(good)
    table = pandas.DataFrame({
        "first": owners[a], "second": owners[b],
        "generated": x.r[a, b], "real": y.r[a, b], "difference": apart[a, b], "z": z[a, b],
    })  # fmt: skip
    if table.empty:
        return Pairs(table.drop(columns=["generated", "real"]), np.nan, np.nan, np.nan)
    p = min(1.0, float(2 * stats.norm.sf(table["z"].abs().max()) * len(table)))
    table = table.loc[table["z"].abs().sort_values(ascending=False).index].drop_duplicates(["first", "second"])
    names = np.array(first.names, dtype=object)
    table = table.assign(**{side: names[table[side].to_numpy()] for side in ("first", "second")}).reset_index(drop=True)
    size = table["difference"].to_numpy()
    return Pairs(table, float(np.sqrt((size**2).mean())), float(np.abs(size).max()), p)


class _Correlations(NamedTuple):
    """Correlations of features.

    Attributes:
        r: correlations over the rows with both features.
        rows: number of these rows.
        excess: asymptotic variance of r relative to that of a Gaussian pair with the same correlation.
        usable: mask of the pairs of features with enough variation.
    """

    r: Float64[np.ndarray, "f f"]
    rows: Float64[np.ndarray, "f f"]
    excess: Float64[np.ndarray, "f f"]
    usable: Bool[np.ndarray, "f f"]


def _correlations(rows: Rows) -> _Correlations:
    values, _ = rows.encoded()
    known = np.isfinite(values)
    ranked = np.stack([_ranks(column) for column in values.T], 1)
    centre = ranked.sum(0) / np.maximum(1, known.sum(0))
    x, w = np.where(known, ranked - centre, 0.0), known.astype(np.float64)
    n = w.T @ w
    with np.errstate(divide="ignore", invalid="ignore"):
        x = x / np.sqrt((x**2).sum(0) / w.sum(0))
        x = np.where(known & np.isfinite(x), x, 0.0)
        mean, square = (x.T @ w) / n, (x**2).T @ w / n
        variance = square - mean**2
        scale = np.sqrt(variance * variance.T)
        r = np.nan_to_num((x.T @ x / n - mean * mean.T) / scale)
        fourth, cubed = (x**4).T @ w / n, (x**3).T @ x / n
        both = (x**2).T @ (x**2) / n
        spread = both * (1 + r**2 / 2) + r**2 * (fourth + fourth.T) / 4 - r * (cubed + cubed.T)
        excess = np.where(r**2 < LARGEST**2, spread / (1 - r**2) ** 2, 1.0)
    varied = np.array([_outside_mode(column[np.isfinite(column)]) for column in values.T]) >= FEWEST_OF_A_KIND
    return _Correlations(r, n, excess, varied[:, None] & varied[None, :] & (scale > 0))


def _ranks(values: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Ranks of the known values, 0 elsewhere."""
    known = np.isfinite(values)
    found = np.zeros(len(values))
    found[known] = stats.rankdata(values[known])
    return found


def _outside_mode(values: Float64[np.ndarray, "n"]) -> int:
    """Number of rows without the most frequent value: nearly all for a number, the rarer class for an indicator."""
    return len(values) - int(np.unique(values, return_counts=True)[1].max(initial=0))


def _chi_square(counts: Int64[np.ndarray, "2 c"]) -> float:
    """p-value of the chi-square test of two rows of counts.

    The rarest classes are merged until their expected count is at least ``EXPECTED``, as the approximation requires.
    """
    counts = counts[:, np.argsort(counts.sum(0))]
    expected = counts.sum(0) * counts.sum(1).min() / counts.sum()
    rare = int(np.searchsorted(np.cumsum(expected), EXPECTED)) + 1
    counts = np.concatenate([counts[:, :rare].sum(1, keepdims=True), counts[:, rare:]], 1)
    return float(stats.chi2_contingency(counts, correction=False).pvalue) if counts.shape[1] > 1 else np.nan
