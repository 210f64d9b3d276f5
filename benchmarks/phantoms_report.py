"""Tables of docs/benchmarks.md from the evaluations of benchmarks/phantoms.py.

python -m benchmarks.phantoms_report [runs/benchmark-phantoms]
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas

from benchmarks.tables import markdown
from metavoxel.cohort.phantoms import read_truth
from metavoxel.evaluation.metrics.bootstrap import Estimate
from metavoxel.evaluation.report.table import shown

COLUMNS = {
    "age (years) MAE": "age: mean absolute error (years)", "age (years) 90 % coverage": "90 % intervals cover",
    "sex accuracy": "sex: accuracy", "sex AUC": "AUC", "T1w FID": "FID", "training (s)": "training (s)",
    "prediction (s)": "a prediction (s)",
}  # fmt: skip
FLEXIBLE = {
    "age (years) MAE": "age: mean absolute error (years)", "mean sample variance (ddof 1)": "variance of draws",
    "age (years) 90 % coverage": "90 % intervals cover",
}  # fmt: skip
QUALITY = {
    "FID": "FID", "KID": "KID", "precision": "precision", "recall": "recall", "MS-SSIM of pairs": "MS-SSIM of pairs",
    "share alike one training subject": "alike one training subject",
}  # fmt: skip


def table(path: Path, key: str, columns: Mapping[str, str], skip: Sequence[str] = ()) -> list[list[str]]:
    """Return the rows of a table of an evaluation: the key, then the columns, with any intervals."""
    frame = pandas.read_csv(path, keep_default_na=False).replace("—", float("nan"))
    rows = []
    for _, row in frame[~frame[key].isin(skip)].iterrows():
        cells = []
        for name in columns:
            ends = (f"{name} low", f"{name} high")
            known = name in frame and row[name] == row[name]
            if known and ends[0] in frame:
                cells.append(shown(Estimate(*(float(row[column]) for column in (name, *ends)))))
            else:
                cells.append(shown(float(row[name])) if known else "")
        rows.append([str(row[key]), *cells])
    return rows


def report(output: Path, modes: Sequence[str]) -> None:
    """Print every table, and the exact values."""
    found = {mode: output / mode / "evaluation" for mode in modes}
    for name, key, columns in (
        ("table1", "method", COLUMNS), ("table2", "given", FLEXIBLE), ("quality-T1w", "scans", QUALITY),
    ):  # fmt: skip
        for mode, folder in found.items():
            print(f"\n{name}, times: {mode}\n")
            print(markdown([key, *columns.values()], table(folder / f"{name}.csv", key, columns)))
    truth = read_truth(output / "cohort")
    test = json.loads((output / modes[0] / "run.json").read_text())["split"]["test"]
    known = truth.table.set_index("participant_id").loc[test]
    age = known["age"].astype(float)
    print("Exact, of the population: " + "  ".join(f"{k} {v:.3f}" for k, v in truth.bounds._asdict().items() if v))
    for name in ("", "_given_sex"):
        error = (known[f"age_median{name}"].astype(float) - age).abs().mean()
        variance = (known[f"age_sd{name}"].astype(float) ** 2).mean()
        print(
            f"Exact, of the {len(test)} test subjects{name}: age error {error:.2f}, posterior variance {variance:.1f}"
        )
    print(f"Variance of their ages: {age.var():.0f}")
    print(f"Minutes of processor time: {json.loads((output / 'minutes.json').read_text())}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=Path("runs/benchmark-phantoms"))
    parser.add_argument("--modes", nargs="+", default=["evidence", "shared"])
    arguments = parser.parse_args()
    report(arguments.output, arguments.modes)
