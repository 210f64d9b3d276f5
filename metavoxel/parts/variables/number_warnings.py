"""Warn of continuous variables whose distribution is far from normal, and suggest a setting or type."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

_MIN_ROWS = 20
"""Minimum number of rows to judge the shape of a distribution."""
_MAX_LABELS = 10
"""Maximum number of distinct values of a likely label, with at least ``_ROWS_PER_LABEL`` times as many rows."""
_ROWS_PER_LABEL = 4
_MIN_TIES, _MIN_TIE_SHARE, _TIE_RATIO = 5, 0.1, 3
"""Minimum rows, share of rows, and multiple of the rows of the next value for a value to be over-represented."""
_COARSE_SD = 5.0
"""Standard deviation of whole numbers below which draws between them matter."""
_SKEWED, _HEAVY = 1.0, 3.0
"""Skewness and excess kurtosis above which a column is reported."""
_SKEWED_ERRORS, _HEAVY_ERRORS = 5.0, 8.0
"""Minimum of the two in standard errors; higher for the kurtosis, whose sampling distribution is skewed."""
_OUTLIER_RATIO = 2.0
"""Minimum ratio of the largest to the second largest distance from the median for an outlier."""
_LOG_RATIO = 4.0
"""Minimum log-likelihood ratio (nats) of a log-normal to a normal distribution."""

_COUNT = "'type: count' (plugin metavoxel-count)"
_QUANTILE = "'transform: quantile'"


def number_warnings(values: Float64[np.ndarray, "n"], transform: str | None) -> Iterator[str]:
    """Yield at most one warning: the shape of the distribution, and the setting that suits it.

    No warning under 'transform: quantile', which suits any distribution, nor for constants or few rows. The false
    positive rate for normal numbers is about one column in a thousand.
    """
    if transform == "quantile" or len(values) < 2 or values.min() == values.max():
        return
    unique, counts = np.unique(values, return_counts=True)
    if len(unique) <= _MAX_LABELS and len(values) >= _ROWS_PER_LABEL * len(unique):
        yield _label_warning(unique, len(values))
    elif len(values) >= _MIN_ROWS:
        found = (
            _tie_warning(unique, counts) or _whole_number_warning(unique, values) or _shape_warning(values, transform)
        )
        if found:
            yield found


def _label_warning(unique: Float64[np.ndarray, "k"], rows: int) -> str:
    shown = ", ".join(f"{value:g}" for value in unique)
    what = f"{rows} rows have only {len(unique)} distinct values ({shown}), and draws would lie between them"
    if len(unique) == 2:
        return f"{what}: make it 'type: categorical'"
    counts = f", {_COUNT} for counts" if unique[0] >= 0 and (unique == np.round(unique)).all() else ""
    return (
        f"{what}: make it 'type: categorical' for labels, 'type: ordinal' (plugin metavoxel-ordinal) for stages"
        f"{counts}, or set {_QUANTILE}"
    )


def _tie_warning(unique: Float64[np.ndarray, "k"], counts: np.ndarray) -> str | None:
    """Warn of one over-represented value: zeros, a floor, a ceiling."""
    most = int(counts.argmax())
    value, count, rows = float(unique[most]), int(counts[most]), int(counts.sum())
    if count < max(_MIN_TIES, _MIN_TIE_SHARE * rows) or count < _TIE_RATIO * np.delete(counts, most).max():
        return None
    what = f"{count} of {rows} values ({count / rows:.0%}) are {value:g}"
    if most == 0:
        what += ", the minimum: draws would miss it and fall below"
    elif most == len(unique) - 1:
        what += ", the maximum: draws would miss it and exceed it"
    else:
        what += ": draws would miss it"
    remedy = f"set {_QUANTILE}, which reproduces its frequency"
    if value == 0 and most == 0:
        remedy += f", or for counts make it {_COUNT}"
    elif value != 0:
        remedy += "; if it stands for 'missing', add it to cohort.missing"
    return f"{what}; {remedy}"


def _whole_number_warning(unique: Float64[np.ndarray, "k"], values: Float64[np.ndarray, "n"]) -> str | None:
    sd = float(values.std(ddof=1))
    if sd >= _COARSE_SD or (unique != np.round(unique)).any():
        return None
    remedy = f"set {_QUANTILE}, which draws whole numbers only"
    if unique[0] >= 0:
        remedy += f", or for counts make it {_COUNT}"
    return f"whole numbers with an sd of {sd:.2g}, and draws would lie between them: {remedy}"


def _shape_warning(values: Float64[np.ndarray, "n"], transform: str | None) -> str | None:
    """Warn of skewness or heavy tails, of the logarithm under 'transform: log'."""
    rows = len(values)
    x = np.log(values) if transform == "log" else values
    skewness, kurtosis = _moments(x)
    skewed = abs(skewness) > max(_SKEWED, _SKEWED_ERRORS * math.sqrt(6 / rows))
    heavy = kurtosis > max(_HEAVY, _HEAVY_ERRORS * math.sqrt(24 / rows))
    of_logs = " of the logarithm" if transform == "log" else ""
    sign = "never negative and " if values.min() >= 0 and transform is None else ""
    side = f"{sign}skewed to the {'right' if skewness > 0 else 'left'} (skewness{of_logs} {skewness:.1f})"
    outlier = _outlier(values, x)
    if transform is None and values.min() > 0 and skewness > _SKEWED and _log_ratio(values) > _LOG_RATIO:
        return f"{side}: {outlier}set 'transform: log'"
    if skewed:
        return f"{side}: {outlier}set {_QUANTILE}"
    if heavy:
        return f"heavy tails (excess kurtosis{of_logs} {kurtosis:.1f}): {outlier}set {_QUANTILE}"
    return None


def _outlier(values: Float64[np.ndarray, "n"], x: Float64[np.ndarray, "n"]) -> str:
    """Describe a single outlier that determines the shape of the distribution, if there is one."""
    distances = np.abs(x - np.median(x))
    order = distances.argsort()
    if distances[order[-1]] < _OUTLIER_RATIO * distances[order[-2]]:
        return ""
    rest = values[order[:-1]]
    return (
        f"{values[order[-1]]:g} is an outlier (the others: {rest.min():g} to {rest.max():g}). If it is an error, "
        "correct it; if it stands for 'missing', add it to cohort.missing; otherwise "
    )


def _moments(x: Float64[np.ndarray, "n"]) -> tuple[float, float]:
    """Skewness and excess kurtosis."""
    z = (x - x.mean()) / x.std()
    return float((z**3).mean()), float((z**4).mean()) - 3


def _log_ratio(values: Float64[np.ndarray, "n"]) -> float:
    """Maximum log-likelihood of a log-normal distribution minus that of a normal one."""
    logs = np.log(values)
    return float(len(values) * (math.log(values.std()) - math.log(logs.std()) - logs.mean()))
