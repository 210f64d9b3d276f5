"""Tables 1 and 2 of the paper, paired differences, and errors by subgroup."""

from collections.abc import Mapping, Sequence

import numpy as np

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.held_out_predictions import HeldOutPredictions
from metavoxel.evaluation.method import Method
from metavoxel.evaluation.metrics.bootstrap import Estimate, bootstrap_mean
from metavoxel.evaluation.metrics.scores import LabelScore, NumberScore, Score, score
from metavoxel.evaluation.report.table import Cell, ResultTable
from metavoxel.evaluation.subgroups import Group

Scores = Mapping[str, Mapping[str, Score]]
"""Scores by method and target; targets that a method does not predict are absent."""


def scores_of(held_out: HeldOut, methods: Sequence[Method]) -> dict[str, dict[str, Score]]:
    """Scores of every method on every scalar it predicts."""
    found: dict[str, dict[str, Score]] = {}
    for method in methods:
        judged = {
            target: score(held_out, target, table)
            for target, table in method.predictions.items()
            if not held_out.spec(target).data_shape
        }
        found[method.name] = {target: one for target, one in judged.items() if one is not None}
    return found


def unit(held_out: HeldOut, target: str) -> str:
    """Unit of a target in brackets, if defined in the schema."""
    found = held_out.spec(target).model_dump().get("unit")
    return f" ({found})" if found else ""


def number_cells(name: str, one: NumberScore) -> dict[str, Cell]:
    """Cells of Tables 1 and 2 for a number."""
    return {f"{name} MAE": one.mae, f"{name} sd of |error|": one.sd, f"{name} 90 % coverage": one.coverage}


def label_cells(name: str, one: LabelScore) -> dict[str, Cell]:
    """Cells of Tables 1 and 2 for a label."""
    return {f"{name} accuracy": one.accuracy, f"{name} AUC": one.auc, f"{name} log loss": one.log_loss}


def table1(
    held_out: HeldOut, methods: Sequence[Method], scores: Scores, fid: Mapping[str, Mapping[str, Estimate]]
) -> ResultTable:
    """One row per method: image quality, every target from all other variables, and costs (the paper's Table 1).

    Args:
        held_out: the test part.
        methods: methods, one per row.
        scores: scores by method and target.
        fid: FID by method and image variable.
    """
    images = sorted({image for found in fid.values() for image in found}, key=held_out.images.index)
    targets = [name for name in held_out.model.schema.variables if any(name in found for found in scores.values())]
    rows = []
    for method in methods:
        row: dict[str, Cell] = {"method": method.name}
        row |= {f"{image} FID": fid.get(method.name, {}).get(image) for image in images}
        for target in targets:
            one = scores[method.name].get(target)
            name = f"{target}{unit(held_out, target)}"
            empty = ("accuracy", "AUC", "log loss") if held_out.is_label(target) else (
                "MAE", "sd of |error|", "90 % coverage")  # fmt: skip
            match one:
                case NumberScore():
                    row |= number_cells(name, one)
                case LabelScore():
                    row |= label_cells(name, one)
                case None:
                    row |= {f"{name} {what}": None for what in empty}
            row[f"{target} rows"] = None if one is None else one.rows
        row |= {
            "training (s)": method.training_seconds,
            "prediction (s)": method.seconds,
            "network evaluations": method.evaluations,
            "parameters": method.parameters,
        }
        rows.append(row)
    return ResultTable(rows)


def table2(held_out: HeldOut, target: str, predictions: Sequence[HeldOutPredictions], baseline: Method) -> ResultTable:
    """Target from every subset of the other variables, and the population baseline (the paper's Table 2)."""
    rows: list[dict[str, Cell]] = []
    name = f"{target}{unit(held_out, target)}"
    for one in predictions:
        row: dict[str, Cell] = {"given": ", ".join(one.given) or "∅"}
        row |= _cells2(name, score(held_out, target, one.table))
        row |= {"network evaluations": one.protocol.point_evaluations, "prediction (s)": one.seconds}
        rows.append(row)
    population = score(held_out, target, baseline.predictions[target])
    label = "majority" if held_out.is_label(target) else "population mean"
    rows.append({"given": label, **_cells2(name, population), "network evaluations": 0})
    return ResultTable(rows)


def _cells2(name: str, one: Score | None) -> dict[str, Cell]:
    match one:
        case NumberScore():
            return {
                **number_cells(name, one),
                "mean sample variance (ddof 1)": one.variance,
                "rows": one.rows,
            }
        case LabelScore():
            return {**label_cells(name, one), "mean entropy (nats)": one.entropy, "rows": one.rows}
    return {}


def differences(held_out: HeldOut, reference: str, scores: Scores) -> ResultTable:
    """Errors of each method minus those of the reference method, row by row: below 0 the method is better."""
    rows: list[dict[str, Cell]] = []
    for method, found in scores.items():
        for target, one in found.items():
            against = scores[reference].get(target)
            if method == reference or against is None:
                continue
            both = np.isfinite(one.errors) & np.isfinite(against.errors)
            if both.any():
                subjects = [subject for subject, keep in zip(held_out.subjects, both, strict=True) if keep]
                difference = bootstrap_mean((one.errors - against.errors)[both], subjects=subjects)
                what = "error rate" if held_out.is_label(target) else f"absolute error{unit(held_out, target)}"
                rows.append({
                    "target": f"{target}: {what}", "method": method, f"less that of {reference}": difference,
                    "rows": int(both.sum()),
                })  # fmt: skip
    return ResultTable(rows)


def subgroup_table(
    held_out: HeldOut, target: str, groups: Sequence[Group], methods: Sequence[str], scores: Scores
) -> ResultTable:
    """Errors of one target in every group of test rows, by method."""
    rows: list[dict[str, Cell]] = []
    for group in groups:
        row: dict[str, Cell] = {"group": f"{group.variable}: {group.label}", "rows": int(group.rows.sum())}
        for method in methods:
            one = scores[method].get(target)
            if one is not None:
                chosen = group.rows & np.isfinite(one.errors)
                subjects = [subject for subject, keep in zip(held_out.subjects, chosen, strict=True) if keep]
                row[method] = bootstrap_mean(one.errors[chosen], subjects=subjects) if chosen.any() else None
        rows.append(row)
    return ResultTable(rows)
