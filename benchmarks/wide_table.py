"""A default training on a table of many columns and few rows: its time, memory and held-out errors.

python -m benchmarks.wide_table [--columns 300] [--rows 500] [--seeds 0] [--output runs/benchmark-wide]

Columns are sums of ten common factors and noise, so that the exact conditional mean of a column given all others is
known. Trained by `metavoxel train` with a schema that lists the columns alone, on all cores. Ten columns are predicted
for 500 further rows from all others: root mean squared errors are divided by the exact ones, and compared with those of
ridge regression on the same rows.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas
import yaml
from sklearn.linear_model import RidgeCV

import metavoxel as mv
from benchmarks.tables import markdown

FACTORS, TARGETS, TEST_ROWS = 10, 10, 500


def simulate(columns: int, rows: int, seed: int) -> tuple[pandas.DataFrame, np.ndarray]:
    """Return rows of standard normal factors, loadings and noise, and the covariance of the columns."""
    random = np.random.default_rng(seed)
    loadings = random.normal(size=(columns, FACTORS)) / FACTORS**0.5
    values = random.normal(size=(rows, FACTORS)) @ loadings.T + random.normal(size=(rows, columns))
    return pandas.DataFrame(values, columns=[f"x{place}" for place in range(columns)]), (
        loadings @ loadings.T + np.eye(columns)
    )


def measured(columns: int, rows: int, seed: int, folder: Path) -> list[str]:
    """Train on one table, and return seed, minutes, processor minutes, peak memory and relative errors."""
    shutil.rmtree(folder, ignore_errors=True)  # a training is timed from its start
    folder.mkdir(parents=True)
    values, covariance = simulate(columns, rows + TEST_ROWS, seed)
    table, test, names = values.head(rows), values.tail(TEST_ROWS), list(values)
    table.to_csv(folder / "table.csv", index_label="participant_id")
    schema = {
        "cohort": {"table": "table.csv", "split": {"train": 0.9, "validation": 0.1, "test": 0, "seed": seed}},
        "variables": {name: {"type": "continuous"} for name in names},
        "training": {"seed": seed},
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema))
    command = [sys.executable, "-m", "metavoxel", "train", "schema.yaml", "--output", "run"]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True)
    minutes = (time.perf_counter() - start) / 60
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    model = mv.load(folder / "run")
    errors = []
    for name in names[:TARGETS]:
        others = [other for other in names if other != name]
        place, places = names.index(name), [names.index(other) for other in others]
        weights = np.linalg.solve(covariance[np.ix_(places, places)], covariance[places, place])
        exact = test[others].to_numpy() @ weights
        ours = model.predict(test.reset_index(names="participant_id"), name, others)[name].to_numpy()
        ridge = RidgeCV(np.logspace(-1, 4, 26)).fit(table[others], table[name]).predict(test[others])
        errors.append([np.square(found - test[name].to_numpy()).mean() for found in (ours, ridge, exact)])
    ours, ridge, exact = np.mean(errors, 0) ** 0.5
    return [
        str(seed),
        f"{minutes:.1f}",
        f"{(used.ru_utime + used.ru_stime) / 60:.1f}",
        f"{used.ru_maxrss / 2**20:.1f}",
        f"{ours / exact:.3f}",
        f"{ridge / exact:.3f}",
    ]


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=300)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-wide"))
    asked = parser.parse_args()
    rows = [measured(asked.columns, asked.rows, seed, asked.output / str(seed)) for seed in asked.seeds]
    head = ["seed", "minutes", "processor minutes", "GiB", "error / exact", "ridge / exact"]
    print(f"{asked.columns} columns, {asked.rows} rows\n\n{markdown(head, rows)}")


if __name__ == "__main__":
    main()
