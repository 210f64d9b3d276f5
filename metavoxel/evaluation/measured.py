"""Predictions of variables whose type brings its own measures, such as texts, from all other variables."""

from collections.abc import Generator, Mapping, Sequence

import numpy as np

from metavoxel.evaluation.held_out import HeldOut, training_values
from metavoxel.evaluation.held_out_predictions import HeldOutPredictor
from metavoxel.evaluation.method import Method
from metavoxel.evaluation.metrics.bootstrap import bootstrap_totals
from metavoxel.evaluation.report.table import Cell, ResultTable
from metavoxel.evaluation.settings import Settings, others, protocol
from metavoxel.parts.variables.measures import AbstractMeasure
from metavoxel.runs.progress import Progress

FREQUENT, RANDOM = "most frequent training value", "random training value"
"""Names of the baselines."""


def measuring(
    held_out: HeldOut, predictor: HeldOutPredictor, methods: Sequence[Method], settings: Settings
) -> Generator[Progress, None, dict[str, ResultTable]]:
    """Measure the predictions of every variable with measures of its type, by method; yields progress."""
    schema, found = held_out.model.schema, {}
    for name in schema.variables:
        measures = held_out.spec(name).measures()
        if not measures or not held_out.present(name).any():
            continue
        predictions = yield from predictor.predict(name, others(schema, name), protocol(held_out.model, settings, name))
        predicted = {
            methods[0].name: predictions.table[name].astype(str).tolist(),
            **_baselines(held_out, name, settings),
        }
        predicted |= {
            method.name: method.predictions[name][name].astype(str).tolist()
            for method in methods[2:]  # after the population, whose value is the most frequent one
            if name in method.predictions
        }
        found[name] = ResultTable([
            _row(held_out, name, method, measures, values) for method, values in predicted.items()
        ])  # fmt: skip
    return found


def _baselines(held_out: HeldOut, name: str, settings: Settings) -> Mapping[str, list[str]]:
    known = training_values(held_out.model, held_out.folder, name).astype(str)
    if known.empty:
        return {}
    drawn = np.random.default_rng(settings.seed).integers(0, len(known), len(held_out))
    return {FREQUENT: [str(known.mode().iloc[0])] * len(held_out), RANDOM: known.iloc[drawn].tolist()}


def _row(
    held_out: HeldOut, name: str, method: str, measures: Sequence[AbstractMeasure], values: Sequence[str]
) -> dict[str, Cell]:
    rows = held_out.rows(name)
    truth, subjects = held_out.truth(name), [held_out.subjects[row] for row in rows]
    row: dict[str, Cell] = {"method": method}
    for measure in measures:
        statistics = measure.statistics([values[row] for row in rows], [str(truth[row]) for row in rows])
        arrow = "↑" if measure.higher_is_better else "↓"
        row[f"{measure.name} {arrow}"] = bootstrap_totals(statistics, measure.value, subjects=subjects)
    return {**row, "rows": len(rows)}
