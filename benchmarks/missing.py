"""Missing cells: training on incomplete rows, compared with complete rows only and with imputation.

python -m benchmarks.missing [--seeds 0 1 2] [--table PATH/ixi.csv] [--output runs/benchmark-missing]

On an analytic joint distribution with exact conditionals, cells are missing completely at random (MCAR), at random
given complete variables (MAR), and depending on their own value (MNAR). In a real table (IXI), 20 % of the cells are
removed at random. Finished parts are stored in the output folder and not repeated. Writes the tables into
docs/how-to/missing-data.md, and docs/images/missing.png.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch

import metavoxel as mv
from benchmarks.imputation import Classes, imputation_errors, iterative, miss_forest, simple
from benchmarks.missing_report import ANALYTIC, QUESTIONS, REAL, Rows, markdown, write
from metavoxel.rng import Rng
from metavoxel.schema import parse_schema
from metavoxel.testing import MixtureOracle

CONTRACT = Path(__file__).resolve().parent.parent / "examples" / "tabular" / "schema.yaml"
ORACLE = MixtureOracle.default()
WHY = ("s4", "binary")
GAPS = ("s1", "s3", "five")


def masks(mechanism: str, rows: pandas.DataFrame, seed: int) -> pandas.DataFrame:
    """Return the mask of removed cells of the variables in GAPS, about 45 % of each."""
    chance = {name: np.full(len(rows), 0.45) for name in GAPS}
    for place, name in enumerate(GAPS):
        if mechanism == "MAR":
            score = 1.5 * rows["s4"] * (1 if place < 2 else -1) + 1.5 * (rows["binary"] - 0.5)
        elif mechanism == "MNAR":
            score = 1.5 * rows[name] if name != "five" else 1.0 * (rows[name] - 1.5)
        else:
            continue
        chance[name] = 1 / (1 + np.exp(-(score - score.mean() - 0.2)))
    drawn = (
        Rng.for_rows(len(rows), "gaps", mechanism, seed).uniform((len(rows), len(GAPS)), dtype=torch.float64).numpy()
    )
    gaps = pandas.DataFrame(False, rows.index, rows.columns)
    for place, name in enumerate(GAPS):
        gaps[name] = drawn[:, place] < chance[name]
    return gaps


def drawn(count: int, *key: str | int) -> pandas.DataFrame:
    """Draw rows of the analytic joint distribution."""
    sample = ORACLE.sample(Rng.for_rows(count, "missing", *key))
    return pandas.DataFrame({name: value.double().numpy() for name, value in sample.items()})


def exact(rows: pandas.DataFrame, target: str) -> np.ndarray:
    """Return the exact posterior mean, or class probabilities, of a variable given the other present cells."""
    classes = ORACLE.categories.get(target)
    found = np.zeros((len(rows), classes) if classes else len(rows))
    others = rows.drop(columns=target)
    for pattern, group in others.groupby([others[name].isna() for name in others], sort=False):
        seen = [name for name, gap in zip(others, pattern, strict=True) if not gap]
        posterior = ORACLE.given({name: torch.tensor(group[name].to_numpy()) for name in seen}, rows=len(group))
        answer = posterior.probabilities(target) if classes else posterior.mean(target)
        found[rows.index.get_indexer(group.index)] = answer.numpy()
    return found


def cells(rows: pandas.DataFrame, classes: Classes) -> pandas.DataFrame:
    """Format rows as cells of a table."""
    return pandas.DataFrame(
        {
            name: [
                "" if np.isnan(x) else (f"c{int(x)}" if name in classes else repr(float(x)))
                for x in rows[name].tolist()
            ]
            for name in rows
        },
        index=rows.index,
    )


def trained(rows: pandas.DataFrame, classes: Classes, folder: Path, training: Rows, width: int) -> mv.Model:
    """Train a model on these rows, of which a tenth are for validation."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table = cells(rows, classes)
    table.insert(0, "participant_id", [f"r{row}" for row in range(len(rows))])
    table.to_csv(folder / "rows.csv", index=False)
    variables = {
        name: {"type": "categorical", "categories": [f"c{k}" for k in range(classes[name])]}
        if name in classes
        else {"type": "continuous"}
        for name in rows
    }
    raw = {
        "cohort": {"table": "rows.csv", "split": {"train": 0.9, "validation": 0.1, "test": 0}},
        "variables": variables,
        "backbone": {"type": "transformer", "width": width, "depth": 2, "heads": 4, "dropout": training.pop("dropout")},
        "training": training,
    }
    for _ in mv.training(parse_schema(raw, folder=folder), folder / "run", precision="32-true", accelerator="cpu"):
        pass
    return mv.load(folder / "run")


def answers(model: mv.Model, rows: pandas.DataFrame, classes: Classes, target: str, given: Any = None) -> np.ndarray:
    """Predict a variable, by posterior mean or class probabilities, from the present cells."""
    table = cells(rows.drop(columns=target), classes)
    table.insert(0, "participant_id", [str(row) for row in range(len(rows))])
    names = [name for name in rows if name != target] if given is None else list(given)
    predicted = model.predict(table, target, names, evaluations=2)
    if target in classes:
        return predicted[[f"{target}_p[c{k}]" for k in range(classes[target])]].to_numpy(float)
    return predicted[target].to_numpy(float)


def filled_by(model: mv.Model, rows: pandas.DataFrame, classes: Classes) -> pandas.DataFrame:
    """Impute missing cells by predictions from the others of their row."""
    filled = rows.copy()
    for name in rows:
        gap = rows[name].isna().to_numpy()
        if gap.any():
            predicted = answers(model, rows[gap], classes, name)
            filled.loc[gap, name] = predicted.argmax(1) if name in classes else predicted
    return filled


def judged(model: mv.Model, test: pandas.DataFrame) -> dict[str, float]:
    """Return errors of a model of the analytic joint distribution on new complete rows."""
    found = {}
    for name in ("s1", "s3"):
        bayes = float(np.mean((exact(test, name) - test[name]) ** 2))
        found[f"{name} from all"] = (
            float(np.mean((answers(model, test, ORACLE.categories, name) - test[name]) ** 2)) / bayes
        )
    five = answers(model, test, ORACLE.categories, "five")
    found["five from all"] = float(np.abs(five - exact(test, "five")).mean())
    for given in QUESTIONS:
        known = test.copy()
        known.loc[:, [name for name in known if name not in given]] = np.nan
        truth = exact(known, "s1")
        predicted = answers(model, known, ORACLE.categories, "s1", given)
        found[f"s1 given {' '.join(given) or 'nothing'}"] = float(np.sqrt(np.mean((predicted - truth) ** 2)))
    known = test[:1].copy()
    five = answers(model, known, ORACLE.categories, "five", ())[0]
    found["five given nothing"] = float(np.abs(five - exact(known * np.nan, "five")[0]).sum() / 2)
    return found


def analytic(folder: Path, seed: int, count: int, steps: int) -> Callable[[str], Rows]:
    """Return a function from a training's name ('MAR weighted', 'half of s1 complete rows', ...) to its figures."""

    def part(name: str) -> Rows:
        rows, test = drawn(count, "train", seed), drawn(2000, "test")
        mechanism, _, how = name.partition(", ")
        gaps = pandas.DataFrame(False, rows.index, rows.columns)
        if mechanism == "half of s1":
            gaps["s1"] = Rng.for_rows(count, "half", seed).uniform((count,)).numpy() < 0.5
        elif mechanism != "complete data":
            gaps = masks(mechanism, rows, seed)
        seen = rows.mask(gaps)
        result: Rows = {"missing": float(gaps[list(GAPS)].mean().mean())}
        if how in ("IterativeImputer", "MissForest", "mean", "exact"):
            filled = {
                "mean": lambda: simple(seen, ORACLE.categories),
                "IterativeImputer": lambda: iterative(seen, ORACLE.categories, seed),
                "MissForest": lambda: miss_forest(seen, ORACLE.categories, seed),
                "exact": lambda: seen.copy(),
            }[how]()
            if how == "exact":
                for target in GAPS:
                    gap = gaps[target].to_numpy()
                    predicted = exact(seen[gap], target)
                    filled.loc[gap, target] = predicted.argmax(1) if target in ORACLE.categories else predicted
            result["imputation"] = imputation_errors(filled, rows, gaps, ORACLE.categories)
            if how != "exact":
                result["s1 mean"] = abs(float(filled["s1"].mean()) - float(exact(test[:1] * np.nan, "s1")[0]))
            return result
        used = seen.dropna() if how == "complete rows" else seen
        training = {
            "steps": steps,
            "batch_size": 256,
            "optimiser": "muon",
            "learning_rate": 3e-3,
            "validate_every": max(steps // 4, 1),
            "seed": seed,
            "dropout": 0.0,
            "missing_weights": list(WHY) if how == "weighted" else [],
        }
        model = trained(used.reset_index(drop=True), ORACLE.categories, folder / "model", training, 48)
        result["rows"] = len(used)
        if gaps.any(axis=None):
            result["imputation"] = imputation_errors(
                filled_by(model, seen, ORACLE.categories), rows, gaps, ORACLE.categories
            )
        return result | judged(model, test)

    return part


def real(folder: Path, seed: int, path: Path) -> Callable[[str], Rows]:
    """Return a function from an imputation method to its figures on IXI, with 20 % of the cells removed at random."""

    def part(name: str) -> Rows:
        rows, classes = ixi(path)
        drawn = Rng.for_rows(len(rows), "removed", seed).uniform(tuple(rows.shape)).numpy() < 0.2
        removed = pandas.DataFrame(drawn, rows.index, rows.columns) & rows.notna()
        seen = rows.mask(removed)
        how = name.partition(", ")[2]
        if how == "all rows":
            training = {"steps": 1000, "batch_size": 128, "learning_rate": 1e-3, "validate_every": 83}
            model = trained(seen, classes, folder / "model", training | {"seed": seed, "dropout": 0.1}, 64)
            filled = filled_by(model, seen, classes)
        elif how == "MissForest":
            filled = miss_forest(seen, classes, seed)
        else:
            filled = iterative(seen, classes, seed) if how == "IterativeImputer" else simple(seen, classes)
        return {"imputation": imputation_errors(filled, rows, removed, classes)}

    return part


def ixi(path: Path) -> tuple[pandas.DataFrame, dict[str, int]]:
    """Return the nine variables of the example's schema, after its ``valid`` rules."""
    schema = mv.load_schema(CONTRACT)
    table, found, classes = pandas.read_csv(path), {}, {}
    for name, variable in schema.variables.items():
        values = [
            variable.spec.parse(str(cell)) if pandas.notna(cell) else None for cell in table[variable.spec.column]
        ]
        found[name] = [float(value) if isinstance(value, torch.Tensor) else np.nan for value in values]
        if variable.parts.codec.support == "one_hot":
            classes[name] = len(variable.spec.categories)
    return pandas.DataFrame(found), classes


def main() -> None:
    """Compute unfinished parts, and write tables and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", type=Path, default=Path("../shared/data/ixi_tabular/ixi.csv"))
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-missing"))
    parser.add_argument("--rows", type=int, default=8000, help="rows of the analytic joint distribution")
    parser.add_argument("--steps", type=int, default=8000, help="training steps on the analytic joint distribution")
    parser.add_argument("--only", default="", help="prefix of the names of parts to compute")
    arguments = parser.parse_args()
    record = arguments.output / "results.json"
    arguments.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, Rows] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for seed in arguments.seeds:
        for parts, work in (
            (ANALYTIC, analytic(arguments.output, seed, arguments.rows, arguments.steps)),
            (REAL if arguments.table.exists() else [], real(arguments.output, seed, arguments.table)),
        ):
            for name in parts:
                key = f"{name} #{seed}"
                if key in results or not name.startswith(arguments.only):
                    continue
                start = time.perf_counter()
                results[key] = work(name)
                print(f"{key} ({time.perf_counter() - start:.0f} s): {results[key]}", flush=True)
                record.write_text(json.dumps(results, indent=1), encoding="utf-8")
    write(results)
    for name, table in markdown(results).items():
        print(f"\n{name}\n{table}")


if __name__ == "__main__":
    main()
