"""Calibration of every predicted conditional distribution (question), by region of the given variables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas
from jaxtyping import Float64
from scipy import stats

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.held_out_predictions import HeldOutPredictions
from metavoxel.evaluation.metrics.conditional import ALL_ROWS, CHANCE, FEW, label_regions, number_regions
from metavoxel.evaluation.metrics.ranks import BINS, COMPONENTS, bins_for, histogram, transforms
from metavoxel.evaluation.metrics.regions import Region, regions_of, thirds
from metavoxel.evaluation.metrics.scores import column, probabilities, true_labels
from metavoxel.evaluation.report.table import Cell, ResultTable
from metavoxel.evaluation.settings import others

FEWEST_DRAWS = 2

PREDICTED = "prediction"
"""Predictor name of regions that are thirds of the point prediction."""

OTHERS = "all others"


@final
@dataclass(frozen=True, eq=False)
class RegionalCalibration:
    """Calibration of one question, by region.

    Attributes:
        target: the predicted variable.
        given: variables it was predicted from, as text.
        label: whether the target is a label.
        table: one row for all rows and one per region (:mod:`metavoxel.evaluation.metrics.conditional`).
        transforms: probability integral transforms of a number, NaN where missing; empty for a label.
        draws: number of draws per row.
    """

    target: str
    given: str
    label: bool
    table: pandas.DataFrame
    transforms: Float64[np.ndarray, "_"]
    draws: int

    @property
    def uniformity(self) -> float:
        """p-value of Neyman's smooth test of a number's ranks over all rows: small where not uniform."""
        z = self.table.iloc[0][[f"z {name}" for name in COMPONENTS]].to_numpy(np.float64)
        return float(stats.chi2.sf((z**2).sum(), len(z)))

    @property
    def worst(self) -> pandas.Series | None:
        """The tested region with the smallest p, excluding all rows together; None where no region is tested."""
        regions = self.table.iloc[1:]
        regions = regions[regions["finding"] != FEW]
        if not len(regions):
            return None
        return regions.loc[regions.assign(size=-regions["z"].abs()).sort_values(["p", "size"], kind="stable").index[0]]

    @property
    def stands_out(self) -> bool:
        """Whether any region, or all rows together, deviates significantly."""
        return bool((~self.table["finding"].isin([CHANCE, FEW])).any())


def regional_calibrations(
    held_out: HeldOut, predictions: Sequence[HeldOutPredictions], *, seed: int
) -> Iterator[RegionalCalibration]:
    """Calibration of all questions with predicted distributions, each once."""
    regions: dict[str, list[Region]] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for one in predictions:
        if (one.target, one.given) in seen:
            continue
        seen.add((one.target, one.given))
        regions |= {name: regions_of(held_out, name) for name in one.given if name not in regions}
        judged = _judged(held_out, one, regions, seed)
        if judged is not None:
            yield judged


def _judged(
    held_out: HeldOut, one: HeldOutPredictions, regions: Mapping[str, list[Region]], seed: int
) -> RegionalCalibration | None:
    by = [region for name in one.given for region in regions[name]]
    given, subjects = _given(held_out, one), held_out.subjects
    if held_out.is_label(one.target):
        p, truth = probabilities(held_out, one.target, one.table), true_labels(held_out, one.target)
        if not ((truth >= 0) & np.isfinite(p).all(1)).any():
            return None
        classes, of_draws = held_out.model.labels[one.target], not one.protocol.predicts_mean
        table = label_regions(by, p, truth, subjects, classes, of_draws=of_draws)
        return RegionalCalibration(one.target, given, True, table, np.zeros(0), one.draws.shape[1])
    truth, draws = held_out.from_centre(one.target, held_out.numbers(one.target), one.draws)
    if draws.shape[1] < FEWEST_DRAWS or not np.isfinite(truth).any():
        return None
    if one.protocol.predicts_mean and one.given:
        # The posterior mean is independent of the draws; thirds of a mean of the draws would select rows by its noise.
        by = [*by, *thirds(PREDICTED, column(one.table, one.target))]
    table = number_regions(by, draws, truth, subjects, seed=seed)
    return RegionalCalibration(one.target, given, False, table, transforms(draws, truth, seed=seed), draws.shape[1])


def _given(held_out: HeldOut, one: HeldOutPredictions) -> str:
    every = others(held_out.model.schema, one.target)
    if set(one.given) == set(every):
        return OTHERS if len(every) > 3 else ", ".join(every)
    left = [name for name in every if name not in one.given]
    if len(left) == 1 and len(every) > 3:
        return f"all but {left[0]}"
    return ", ".join(one.given) or "∅"


def summary(found: Sequence[RegionalCalibration]) -> ResultTable:
    """One row per question: all rows together, and the most significant region."""
    rows: list[dict[str, Cell]] = []
    for one in found:
        every, worst = one.table.iloc[0], one.worst
        row: dict[str, Cell] = {"target": one.target, "given": one.given, "rows": int(every["rows"])}
        if one.label:
            row |= {"log score": every["log score"], "expected": every["log score expected"]}
        else:
            row |= {"coverage": every["coverage"], "nominal": every["nominal"], "width": every["width"]}
            row |= {"CRPS": every["CRPS"], "p of uniform ranks": one.uniformity}
        row |= {"all rows z": every["z"], "all rows": every["finding"], "regions": len(one.table) - 1}
        if worst is not None:
            row |= {
                "worst region": f"{worst['predictor']}: {worst['region']}", "its rows": int(worst["rows"]),
                "z": worst["z"], "of": worst["test"], "p": worst["p"], "finding": worst["finding"],
            }  # fmt: skip
        rows.append(row)
    return ResultTable(rows)


def small_table(one: RegionalCalibration, most: int) -> ResultTable:
    """All rows and the regions of largest |z|, at most ``most`` table rows, in the order of the predictors."""
    table = one.table
    chosen = [0, *sorted(table.index[1:], key=lambda row: -abs(np.nan_to_num(table["z"][row])))[: most - 1]]
    rows: list[dict[str, Cell]] = []
    for row in (table.loc[index] for index in sorted(chosen)):
        name = f"{row['predictor']}: {row['region']}" if row["predictor"] != ALL_ROWS else ALL_ROWS
        cells: dict[str, Cell] = {"region": name, "rows": int(row["rows"])}
        measures = ("log score",) if one.label else ("coverage", "width", "CRPS")
        for measure in measures:
            cells |= {measure: float(row[measure]), f"± {measure}": float(row[f"{measure} se"])}
        if one.label:
            cells |= {"expected": float(row["log score expected"]), "class": row["class"]}
            cells |= {"probability": float(row["probability"]), "frequency": float(row["frequency"])}
        rows.append(cells | {"z": float(row["z"]), "of": row["test"], "finding": row["finding"]})
    return ResultTable(rows)


def region_tables(found: Sequence[RegionalCalibration]) -> dict[str, pandas.DataFrame]:
    """Every region of every question, in separate tables for numbers and labels."""
    tables = {}
    for name, label in (("regions-numbers", False), ("regions-labels", True)):
        parts = [one.table.assign(target=one.target, given=one.given) for one in found if one.label == label]
        if parts:
            table = pandas.concat(parts, ignore_index=True)
            first = ["target", "given"]
            tables[name] = table[[*first, *(column for column in table if column not in first)]]
    return tables


def rank_table(found: Sequence[RegionalCalibration]) -> pandas.DataFrame:
    """Histograms of the transforms, one row per bin, with the 95 % band of uniform transforms."""
    rows = []
    for one in found:
        if not one.label and len(one.transforms):
            bins = bins_for(int(np.isfinite(one.transforms).sum()), BINS)
            counts = histogram(one.transforms, bins)
            for place, count in enumerate(counts.counts):
                rows.append({
                    "target": one.target, "given": one.given, "from": place / bins, "to": (place + 1) / bins,
                    "rows": int(count), "expected": counts.counts.sum() / bins, "low": counts.low, "high": counts.high,
                })  # fmt: skip
    return pandas.DataFrame(rows)
