"""Tables 1 and 2 of ds000228: the joint model in both modes and all comparisons, pooled over splits.

python benchmarks/ds000228.py --seeds 0 1 2 --paper
python -m benchmarks.ds000228_tables --seeds 0 1 2 [--output runs/benchmark-ds000228]

Continues from the runs of the first command, and if interrupted. Test rows are those of all splits; intervals resample
subjects, who may be in several. ``ldm`` and ``continuous_sex``, which are trained in each mode, are those of the first
split only, unless ``--own-seeds`` names more; a method's row gives its number of splits.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from benchmarks.both_modes import OWN, compare_all, evaluated
from benchmarks.tables import markdown
from metavoxel.evaluation.comparisons import ComparisonSettings
from metavoxel.evaluation.metrics.bootstrap import Estimate, bootstrap_mean
from metavoxel.evaluation.metrics.scores import LabelScore, NumberScore, column, score
from metavoxel.evaluation.report.table import shown
from metavoxel.evaluation.results import Results
from metavoxel.evaluation.settings import Settings

RUNS = {"evidence": "evidence", "shared": "paper"}
"""Prefix of the run folders of each mode."""


def subjects(results: Sequence[Results]) -> list[str]:
    """Return the subject of each test row, split after split."""
    return [subject for one in results for subject in one.held_out.subjects]


def pooled(results: Sequence[Results], rows: Sequence[Float64[np.ndarray, "_"] | None]) -> Estimate | None:
    """Return the mean of a figure per test row over the splits that have it; None if there are none."""
    there = [(one, row) for one, row in zip(results, rows, strict=True) if row is not None]
    if not there:
        return None
    owners = subjects([one for one, _ in there])
    return bootstrap_mean(np.concatenate([row for _, row in there]), subjects=owners)


def errors(one: Results, method: str, target: str) -> Float64[np.ndarray, "_"] | None:
    """Return a method's absolute error or 0/1 error of each test row."""
    found = one.scores.get(method, {}).get(target)
    return None if found is None else found.errors


def right(found: Float64[np.ndarray, "_"] | None) -> Float64[np.ndarray, "_"] | None:
    """Return accuracies from 0/1 errors."""
    return None if found is None else 1 - found


def mean_area(results: Sequence[Results], method: str, target: str) -> float | None:
    """Return the mean over splits of the area under the ROC curve; probabilities of different models are not pooled."""
    found = [one.scores.get(method, {}).get(target) for one in results]
    areas = [each.auc.value for each in found if isinstance(each, LabelScore) and each.auc is not None]
    return float(np.mean(areas)) if areas else None


def fid(results: Sequence[Results], method: str) -> str:
    """Format Fréchet distances: mean over the splits that have one, lowest and highest."""
    found = [one.judged.fid()[method]["T1w"].value for one in results if "T1w" in one.judged.fid().get(method, {})]
    if len(found) < 2:
        return "".join(f"{one:.2f}" for one in found)
    return f"{np.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def table1(results: Sequence[Results]) -> list[list[str]]:
    """Return one row per method."""
    rows = []
    for method in dict.fromkeys(one.name for found in results for one in found.methods):
        age = [errors(one, method, "age") for one in results]
        own = [errors(one, one.mode, "age") for one in results]
        differences = [a - b if a is not None and b is not None else None for a, b in zip(age, own, strict=True)]
        sex = [right(errors(one, method, "sex")) for one in results]
        seconds = [one.training_seconds for each in results for one in each.methods if one.name == method]
        splits = sum(any(one.name == method for one in each.methods) for each in results)
        rows.append(
            [
                method if splits == len(results) else f"{method} ({splits} of {len(results)} splits)",
                shown(pooled(results, age)),
                shown(pooled(results, differences)),
                shown(pooled(results, sex)),
                shown(mean_area(results, method, "sex")),
                fid(results, method),
                shown(float(np.mean([s for s in seconds if s is not None]))) if any(seconds) else "",
            ]
        )
    return rows


def table2(results: Sequence[Results]) -> list[list[str]]:
    """Return errors of age from every subset of the other variables."""
    rows = []
    for place, first in enumerate(results[0].flexible):
        inside, means, variances = [], [], []
        for one in results:
            answers, truth = one.flexible[place].table, one.held_out.numbers("age")
            found = score(one.held_out, "age", answers)
            assert isinstance(found, NumberScore)
            means.append(found.errors)
            low, high = column(answers, "age_p05"), column(answers, "age_p95")
            inside.append(((low <= truth) & (truth <= high)).astype(float))
            variances.append(found.variance)
        drawn = first.protocol.draws >= 20
        rows.append([
            ", ".join(first.given) or "nothing", shown(pooled(results, means)),
            f"{np.concatenate(means).std(ddof=1):.2f}", shown(float(np.mean(variances))),
            shown(pooled(results, inside)) if drawn else "",
        ])  # fmt: skip
    return rows


def report(found: Mapping[str, Sequence[Results]]) -> None:
    """Print both tables of each mode."""
    for mode, results in found.items():
        rows = subjects(results)
        print(f"\ntimes: {mode}, {len(rows)} test rows of {len(set(rows))} subjects, {len(results)} splits\n")
        head = ["age from T1w and sex, sex from T1w and age", "age: mean absolute error (years)",
                "less that of the joint model, paired", "sex: accuracy", "AUC", "FID", "training (s)"]  # fmt: skip
        print(markdown(head, table1(results)))
        head = ["age from", "mean absolute error (years)", "sd of |error|", "mean sample variance (ddof 1)",
                "90 % intervals cover"]  # fmt: skip
        print(markdown(head, table2(results)))


def main() -> None:
    """Compare and evaluate split by split unless done, and print the tables of the finished splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--own-seeds", type=int, nargs="*", default=[0], help=f"splits with {' and '.join(OWN)}")
    parser.add_argument("--samples", type=int, default=100, help="generated scans of each method")
    parser.add_argument(
        "--draw-steps", type=int, default=8, help="network evaluations per draw; 50 in the paper's mode"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-ds000228"))
    arguments = parser.parse_args()
    output, minutes = arguments.output, arguments.output / "minutes.json"
    comparisons = ComparisonSettings(samples=arguments.samples)
    found: dict[str, list[Results]] = {mode: [] for mode in arguments.modes}
    for seed in arguments.seeds:
        for mode in arguments.modes:
            run, first = output / f"{RUNS[mode]}-{seed}", output / f"{RUNS['evidence']}-{seed}"
            own = OWN if seed in arguments.own_seeds else ()
            compare_all(run, comparisons, minutes, None if mode == "evidence" else first, own)
            steps = arguments.draw_steps if mode == "evidence" else 50
            settings = Settings(("age", "sex"), "age", steps=steps, samples=arguments.samples)
            found[mode].append(evaluated(run, settings, minutes))
    report(found)


if __name__ == "__main__":
    main()
