"""Continuous variables whose distribution is far from normal, each with the setting or type that suits it."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from metavoxel.parts.variables.continuous import ContinuousSpec

_FEWEST_ROWS = 20
"""Rows from which the shape of a distribution is looked at; with fewer, chance has most shapes."""
_FEW_VALUES = 10
"""Distinct values up to which a number may be a label, if there are ``_ROWS_A_VALUE`` times as many rows."""
_ROWS_A_VALUE = 4
_FEWEST_SHARED, _SHARED, _ABOVE_NEXT = 5, 0.1, 3
"""A value stands out that so many rows and such a share of them have, so many times as many as have the next."""
_COARSE_SD = 5.0
"""Standard deviation of whole numbers below which it matters that draws lie between them."""
_SKEWED, _HEAVY = 1.0, 3.0
"""Skewness and excess kurtosis from which a column is named."""
_SKEWED_ERRORS, _HEAVY_ERRORS = 5.0, 8.0
"""Standard errors that these have to be above 0 where rows are few; of a kurtosis more, for its errors are skewed."""
_ALONE = 2.0
"""Times as far from the median as the next value: one that lies so is asked about."""
_LOG_RATIO = 4.0
"""Log-likelihood (nats) by which a log-normal distribution has to suit better than a normal one."""

_COUNT = "'type: count' (plugin metavoxel-count)"
_QUANTILE = "'transform: quantile'"


def number_warnings(spec: ContinuousSpec, values: Float64[np.ndarray, "n"]) -> Iterator[str]:
    """At most one line: what the distribution of these values is, and the setting that suits it.

    Nothing under 'transform: quantile', which suits any; nothing of constants and of few rows. Of normal numbers about
    one column in a thousand is named by chance.
    """
    if spec.transform == "quantile" or len(values) < 2 or values.min() == values.max():
        return
    unique, counts = np.unique(values, return_counts=True)
    if len(unique) <= _FEW_VALUES and len(values) >= _ROWS_A_VALUE * len(unique):
        yield _of_few_values(unique, len(values))
    elif len(values) >= _FEWEST_ROWS:
        found = _of_one_value(unique, counts) or _of_whole_numbers(unique, values) or _of_shape(spec, values)
        if found:
            yield found


def _of_few_values(unique: Float64[np.ndarray, "k"], rows: int) -> str:
    shown = ", ".join(f"{value:g}" for value in unique)
    what = f"{rows} rows have {len(unique)} distinct values alone ({shown}), and draws would lie between them"
    if len(unique) == 2:
        return f"{what}: make it 'type: categorical'"
    counts = f", {_COUNT} for counts" if unique[0] >= 0 and (unique == np.round(unique)).all() else ""
    return (
        f"{what}: make it 'type: categorical' for labels, 'type: ordinal' (plugin metavoxel-ordinal) for stages"
        f"{counts}, or set {_QUANTILE}"
    )


def _of_one_value(unique: Float64[np.ndarray, "k"], counts: np.ndarray) -> str | None:
    """Of many rows with one and the same value: zeros, a floor, a ceiling."""
    most = int(counts.argmax())
    value, count, rows = float(unique[most]), int(counts[most]), int(counts.sum())
    if count < max(_FEWEST_SHARED, _SHARED * rows) or count < _ABOVE_NEXT * np.delete(counts, most).max():
        return None
    what = f"{count} of {rows} values ({count / rows:.0%}) are {value:g}"
    if most == 0:
        what += ", and none is lower: draws would lie beside it and below"
    elif most == len(unique) - 1:
        what += ", and none is higher: draws would lie beside it and above"
    else:
        what += ": draws would lie beside it"
    cure = f"set {_QUANTILE}, which draws it as often as the rows have it"
    if value == 0 and most == 0:
        cure += f", or for counts make it {_COUNT}"
    elif value != 0:
        cure += "; if it stands for 'missing', name it in cohort.missing"
    return f"{what}; {cure}"


def _of_whole_numbers(unique: Float64[np.ndarray, "k"], values: Float64[np.ndarray, "n"]) -> str | None:
    sd = float(values.std(ddof=1))
    if sd >= _COARSE_SD or (unique != np.round(unique)).any():
        return None
    cure = f"set {_QUANTILE}, which draws whole numbers alone"
    if unique[0] >= 0:
        cure += f", or for counts make it {_COUNT}"
    return f"whole numbers with an sd of {sd:.2g}, and draws would lie between them: {cure}"


def _of_shape(spec: ContinuousSpec, values: Float64[np.ndarray, "n"]) -> str | None:
    """Of skewed numbers and heavy tails, in the logarithm where that is the code."""
    rows = len(values)
    x = np.log(values) if spec.transform == "log" else values
    skewness, kurtosis = _moments(x)
    skewed = abs(skewness) > max(_SKEWED, _SKEWED_ERRORS * math.sqrt(6 / rows))
    heavy = kurtosis > max(_HEAVY, _HEAVY_ERRORS * math.sqrt(24 / rows))
    of_logs = " of the logarithm" if spec.transform == "log" else ""
    sign = "never negative and " if values.min() >= 0 and spec.transform is None else ""
    side = f"{sign}skewed to the {'right' if skewness > 0 else 'left'} (skewness{of_logs} {skewness:.1f})"
    alone = _far_from_the_rest(values, x)
    if spec.transform is None and values.min() > 0 and skewness > _SKEWED and _log_ratio(values) > _LOG_RATIO:
        return f"{side}: {alone}set 'transform: log'"
    if skewed:
        return f"{side}: {alone}set {_QUANTILE}"
    if heavy:
        return f"heavy tails (excess kurtosis{of_logs} {kurtosis:.1f}): {alone}set {_QUANTILE}"
    return None


def _far_from_the_rest(values: Float64[np.ndarray, "n"], x: Float64[np.ndarray, "n"]) -> str:
    """A question about the one value that makes a distribution what it is, if one lies alone."""
    distances = np.abs(x - np.median(x))
    order = distances.argsort()
    if distances[order[-1]] < _ALONE * distances[order[-2]]:
        return ""
    rest = values[order[:-1]]
    return (
        f"{values[order[-1]]:g} lies far from the rest ({rest.min():g} to {rest.max():g}). A mistake, or a code for "
        "'missing'? Then correct it, or name it in cohort.missing; else "
    )


def _moments(x: Float64[np.ndarray, "n"]) -> tuple[float, float]:
    """Skewness and excess kurtosis."""
    z = (x - x.mean()) / x.std()
    return float((z**3).mean()), float((z**4).mean()) - 3


def _log_ratio(values: Float64[np.ndarray, "n"]) -> float:
    """Log-likelihood of the likeliest log-normal distribution less that of the likeliest normal one."""
    logs = np.log(values)
    return float(len(values) * (math.log(values.std()) - math.log(logs.std()) - logs.mean()))
