"""Scores of the predictions of one target, with intervals over subjects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas
from jaxtyping import Bool, Float64, Int64
from scipy.stats import rankdata

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.metrics.bootstrap import Estimate, bootstrap, bootstrap_mean

LEAST_PROBABILITY = 1e-6
"""Lower bound of probabilities in the log score, as tables store six digits."""


@final
@dataclass(frozen=True, eq=False)
class NumberScore:
    """Scores of predictions of a number. Errors are in its unit.

    Attributes:
        errors: absolute errors of all test rows; NaN where the prediction or the true value is missing.
        mae: mean absolute error.
        sd: standard deviation of the absolute error over rows (ddof 1), as reported in the paper.
        variance: mean over rows of the variance of the row's draws (ddof 1); NaN without draws.
        coverage: share of true values between the 5 % and the 95 % quantile of the row's draws; None without these.
        rows: number of scored rows.
    """

    errors: Float64[np.ndarray, "n"]
    mae: Estimate
    sd: float
    variance: float
    coverage: Estimate | None
    rows: int


@final
@dataclass(frozen=True, eq=False)
class LabelScore:
    """Scores of predictions of a label.

    Attributes:
        errors: 0-1 errors of all test rows; NaN as for a number.
        accuracy: share of correct labels.
        auc: area under the receiver operating characteristic; for several classes the mean of one against the rest,
            weighted by frequency; None without probabilities or with one class.
        brier: mean squared error of the probabilities, summed over classes.
        log_loss: mean of -log p of the true label, in nats.
        entropy: mean entropy of the predicted probabilities, in nats.
        rows: number of scored rows.
    """

    errors: Float64[np.ndarray, "n"]
    accuracy: Estimate
    auc: Estimate | None
    brier: float
    log_loss: float
    entropy: float
    rows: int


Score = NumberScore | LabelScore


def score(held_out: HeldOut, target: str, table: pandas.DataFrame) -> Score | None:
    """Score the predictions of a target; None where no row has both a prediction and a true value."""
    return (
        _label_score(held_out, target, table) if held_out.is_label(target) else _number_score(held_out, target, table)
    )


def column(table: pandas.DataFrame, name: str) -> Float64[np.ndarray, "n"]:
    """Numbers of a column; NaN where the cell or the column is missing."""
    if name not in table:
        return np.full(len(table), np.nan)
    return pandas.to_numeric(table[name], errors="coerce").to_numpy(np.float64)


def absolute_errors(held_out: HeldOut, target: str, table: pandas.DataFrame) -> Float64[np.ndarray, "n"]:
    """Absolute error of each prediction, 0-1 error for a label; NaN where prediction or true value is missing."""
    if not held_out.is_label(target):
        return np.abs(column(table, target) - held_out.numbers(target))
    predicted, truth = table[target].astype(str).to_numpy(), held_out.truth(target)
    return np.array([
        np.nan if true is None or label in ("", "nan") else float(label != str(true))
        for label, true in zip(predicted, truth, strict=True)
    ])  # fmt: skip


def _number_score(held_out: HeldOut, target: str, table: pandas.DataFrame) -> NumberScore | None:
    errors, truth = absolute_errors(held_out, target, table), held_out.numbers(target)
    judged = np.isfinite(errors)
    if not judged.any():
        return None
    low, high = column(table, f"{target}_p05"), column(table, f"{target}_p95")
    ranged = judged & np.isfinite(low) & np.isfinite(high)
    inside = (low <= truth) & (truth <= high)
    variances = column(table, f"{target}_sd")[judged] ** 2
    return NumberScore(
        errors,
        bootstrap_mean(errors[judged], subjects=_select(held_out.subjects, judged)),
        float(errors[judged].std(ddof=1)) if judged.sum() > 1 else np.nan,
        float(np.nanmean(variances)) if np.isfinite(variances).any() else np.nan,
        bootstrap_mean(inside[ranged].astype(float), subjects=_select(held_out.subjects, ranged))
        if ranged.any()
        else None,
        int(judged.sum()),
    )


def probabilities(held_out: HeldOut, target: str, table: pandas.DataFrame) -> Float64[np.ndarray, "n k"]:
    """Probabilities of the labels in schema order, NaN where a method has none; rows sum to 1."""
    p = np.stack([column(table, f"{target}_p[{label}]") for label in held_out.model.labels[target]], 1)
    return p / p.sum(1, keepdims=True)


def true_labels(held_out: HeldOut, target: str) -> Int64[np.ndarray, "n"]:
    """Index of each row's label in the schema; -1 where missing."""
    places = {label: place for place, label in enumerate(held_out.model.labels[target])}
    return np.array([-1 if label is None else places[str(label)] for label in held_out.truth(target)])


def _label_score(held_out: HeldOut, target: str, table: pandas.DataFrame) -> LabelScore | None:
    errors = absolute_errors(held_out, target, table)
    judged = np.isfinite(errors)
    if not judged.any():
        return None
    predicted, truth = probabilities(held_out, target, table), true_labels(held_out, target)
    known = judged & np.isfinite(predicted).all(1)
    auc, brier, log_loss, entropy = None, np.nan, np.nan, np.nan
    if known.any():
        p, labels, subjects = predicted[known], truth[known], _select(held_out.subjects, known)
        auc = bootstrap(lambda rows: area(p[rows], labels[rows]), len(p), subjects=subjects)
        logs = np.log(np.clip(p, LEAST_PROBABILITY, 1))
        brier = float(((p - np.eye(p.shape[1])[labels]) ** 2).sum(1).mean())
        log_loss = float(-logs[np.arange(len(p)), labels].mean())
        entropy = float(-(p * logs).sum(1).mean())
    accuracy = bootstrap_mean(1 - errors[judged], subjects=_select(held_out.subjects, judged))
    auc = auc if auc is not None and np.isfinite(auc.value) else None
    return LabelScore(errors, accuracy, auc, brier, log_loss, entropy, int(judged.sum()))


def area(p: Float64[np.ndarray, "n k"], labels: Int64[np.ndarray, "n"]) -> float:
    """Area under the ROC curve; for several classes, one against the rest, weighted by frequency. NaN with one."""
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < 2:
        return np.nan
    if p.shape[1] == 2:
        return _binary_area(labels == 1, p[:, 1])
    return float(np.average([_binary_area(labels == label, p[:, label]) for label in present], weights=counts))


def _binary_area(positive: Bool[np.ndarray, "n"], scores: Float64[np.ndarray, "n"]) -> float:
    """Share of pairs of a positive and a negative row in which the positive has the higher score, ties by half.

    By the sum of ranks (Mann and Whitney, 1947): a bootstrap needs hundreds of areas, and scikit-learn's function takes
    most of its time to validate its arguments.
    """
    several = int(positive.sum())
    above = rankdata(scores)[positive].sum() - several * (several + 1) / 2
    return float(above / (several * (len(positive) - several)))


def _select(subjects: Sequence[str], rows: Bool[np.ndarray, "n"]) -> list[str]:
    return [subject for subject, keep in zip(subjects, rows, strict=True) if keep]
