"""A table without images: nine variables of 563 adults, each predicted from all others and from none.

python benchmarks/ixi.py [--table ../shared/data/ixi_tabular/ixi.csv] [--output runs/benchmark-ixi]

Test rows only. For comparison, gradient-boosted trees for each variable, fitted to the same training rows; they support
missing cells.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import metavoxel as mv
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.inference.summaries import category_labels
from metavoxel.runs.bars import show
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder

TABLE = Path("../shared/data/ixi_tabular/ixi.csv")
SCHEMA = Path("examples/tabular/schema.yaml")


def values(model: mv.Model, folder: RunFolder, part: str) -> dict[str, np.ndarray]:
    """Return every variable's cells (n,): numbers or indices of categories, NaN where missing."""
    cohort = model.read(part_table(model, folder, part), model.names)
    found = {}
    for name, column in cohort.columns.items():
        cells = np.full(len(cohort), np.nan)
        for row in column.present.nonzero()[:, 0].tolist():
            cells[row] = float(column.read([row])[0])
        found[name] = cells
    return found


def trees(name: str, category: bool, train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> np.ndarray:
    """Predict one variable from all others by boosted trees."""
    make = HistGradientBoostingClassifier if category else HistGradientBoostingRegressor
    model = make(random_state=0, max_iter=60, max_depth=3)
    others, seen = [other for other in train if other != name], ~np.isnan(train[name])
    inputs, test_inputs = (np.column_stack([part[other] for other in others]) for part in (train, test))
    answers: np.ndarray = model.fit(inputs[seen], train[name][seen]).predict(test_inputs)
    return answers


def judged(answer: np.ndarray, truth: np.ndarray, category: bool) -> str:
    """Format the mean error of a variable over the rows that have it."""
    error = answer != truth if category else np.abs(answer - truth)
    return str(bootstrap_mean(error[~np.isnan(truth)].astype(float)))


def main() -> None:
    """Train unless trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-ixi"))
    arguments = parser.parse_args()
    folder, start = RunFolder(arguments.output), time.perf_counter()
    if not folder.weights.exists():
        schema = mv.load_schema(SCHEMA)
        cohort = schema.cohort.model_copy(update={"table": arguments.table.resolve()})
        show(mv.training(replace(schema, cohort=cohort), arguments.output, resume=folder.record.exists()))
        print(f"trained in {(time.perf_counter() - start) / 60:.1f} minutes")
    model = mv.load(arguments.output)
    train, test = values(model, folder, "train"), values(model, folder, "test")
    table = part_table(model, folder, "test")
    rows, start = [], time.perf_counter()
    for name, variable in model.schema.variables.items():
        spec, present = variable.spec, ~np.isnan(test[name])
        category = model.codecs[name].support == "one_hot"
        seen = train[name][~np.isnan(train[name])]
        if category:
            labels = category_labels(spec, model.codecs[name])
        figure = "error rate" if category else "mean absolute error"
        row = {"variable": name, "figure": figure, "rows": int(present.sum())}
        for title, given in (("joint model", None), ("joint model, nothing given", [])):
            predicted = model.predict(table, name, given)[name].to_numpy()
            row[title] = judged(
                np.array([labels.index(x) for x in predicted]) if category else predicted.astype(float),
                test[name],
                category,
            )
        row["boosted trees"] = judged(trees(name, category, train, test), test[name], category)
        guess = np.bincount(seen.astype(int)).argmax() if category else seen.mean()
        row["mean or majority"] = judged(np.full(len(present), guess), test[name], category)
        rows.append(row)
    print(pandas.DataFrame(rows).to_string(index=False))
    print(f"{2 * len(rows)} queries of {len(table.frame)} rows: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
