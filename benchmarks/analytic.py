"""Conditionals of an analytic joint distribution: a trained model against exact ones, for every evidence set.

python -m benchmarks.analytic [--output runs/benchmark-analytic] [--every 1] [--rows 10000] [--quick]

Six variables (four scalars in a Gaussian mixture, a binary and a five-class category), 62 evidence sets. Exact
conditionals are those of ``metavoxel.testing.oracle.MixtureOracle``; test rows are not in training.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch

from benchmarks.conditionals import (
    ORACLE,
    coverage,
    joint_in_turn,
    joint_together,
    mean_of,
    pure_noise,
    squared_error,
    two_samples,
)
from benchmarks.table_run import TableRun, trained
from benchmarks.tables import figure, markdown, publish
from metavoxel.rng import Rng
from metavoxel.runs.run import RunFolder
from metavoxel.sampling.settings import Sampling

TRAINING_ROWS, VALIDATION_ROWS = 300_000, 4_000
SETTINGS = {
    "backbone": {"type": "transformer", "width": 64, "depth": 3, "dropout": 0.0},
    "training": {
        "steps": 16_000,
        "batch_size": 256,
        "optimiser": "muon",
        "learning_rate": 3e-3,
        "weight_decay": 0.01,
        "warm_up": 300,
        "ema": 0.999,
        "validate_every": 1000,
    },
}
STEPS = 50
PASSES = {"repaint, 10 passes": 10, "smc, 64 particles": 64}


class Sizes(NamedTuple):
    """Sizes of the measurements: evidence sets, rows of two-sample tests, rows and draws of interval coverage."""

    every: int
    rows: int
    compared_rows: int
    coverage_rows: int
    draws: int


def model(output: Path) -> TableRun:
    """Return the trained model."""
    rows = ORACLE.sample(Rng.for_rows(TRAINING_ROWS + VALIDATION_ROWS, "benchmark analytic", "training rows"))
    return trained(output, rows, categories=ORACLE.categories, settings=SETTINGS, validation=VALIDATION_ROWS)


def methods() -> dict[str, Sampling]:
    """Return the conditioning methods."""
    return {
        "clean": Sampling(steps=STEPS),
        "clean, DDIM": Sampling(steps=STEPS, solver="ddim", grid="uniform"),
        "replace": Sampling(steps=STEPS, solver="ddim", grid="uniform", conditioning="replace"),
        "repaint, 10 passes": Sampling(steps=STEPS, solver="ddim", grid="uniform", conditioning="repaint"),
        "smc, 64 particles": Sampling(
            steps=STEPS, solver="ddim", eta=1.0, grid="uniform", conditioning="smc", particles=64
        ),
    }


@final
class Kept:
    """Measurements of one model, each stored in its own file, so that an interrupted run continues.

    Args:
        folder: of the files.
        weights: of the model; older measurements are repeated.
    """

    def __init__(self, folder: Path, weights: Path) -> None:
        self._folder, self._oldest = folder, weights.stat().st_mtime
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, what: str, measure: Callable[[], Sequence[float]]) -> Sequence[float]:
        """Return the stored result of ``measure``, or compute and store it."""
        file, start = self._folder / f"{what}.json", time.perf_counter()
        if not file.exists() or file.stat().st_mtime < self._oldest:
            file.write_text(json.dumps([float(value) for value in measure()]), encoding="utf-8")
        found: Sequence[float] = json.loads(file.read_text(encoding="utf-8"))
        print(f"  {what}: {found} ({time.perf_counter() - start:.0f} s)", flush=True)
        return found


def compared(run: TableRun, sampling: Sampling, evidence: Sequence[Sequence[str]], rows: int) -> Sequence[float]:
    """Return squared error over Bayes, its standard error, and C2ST of a method; means over evidence sets."""
    squared = mean_of([squared_error(run, sampling, names, rows) for names in evidence])
    return [*squared, float(np.mean([two_samples(run, sampling, names, rows) for names in evidence]))]


def main() -> None:
    """Train unless trained, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-analytic"))
    parser.add_argument("--every", type=int, default=1, help="use every n-th evidence set for draws")
    parser.add_argument("--rows", type=int, default=10_000, help="rows per sample of the two-sample tests")
    parser.add_argument("--compared-rows", type=int, default=2_000, help="rows per sample in the comparison of methods")
    parser.add_argument("--coverage-rows", type=int, default=2_000)
    parser.add_argument("--quick", action="store_true", help="few evidence sets and rows")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.every, arguments.rows, arguments.compared_rows, arguments.coverage_rows, 200)
    if arguments.quick:
        sizes = Sizes(12, 2_000, 500, 200, 200)
    torch.set_num_threads(1)
    run = model(arguments.output)
    one, four = (list(pure_noise(run, 2_000, evaluations)) for evaluations in (1, 4))
    worst = max((errors for errors in four if errors.ratio == errors.ratio), key=lambda errors: errors.ratio)
    ratio_1, ratio_4 = (np.nanmean([errors.ratio for errors in found]) for found in (one, four))
    classes = np.nanmean([errors.probabilities for errors in four])
    print(f"  posterior mean: {ratio_1:.4f} {ratio_4:.4f} worst {worst}; classes {classes:.4f}", flush=True)
    sampled = list(ORACLE.subsets())[:: sizes.every]
    clean, rows = methods()["clean"], sizes.rows
    kept = Kept(arguments.output.with_suffix(".measures"), RunFolder(arguments.output).weights)
    covered, draws = sizes.coverage_rows, sizes.draws
    held, error = kept(f"coverage of {covered} rows", lambda: coverage(run, clean, covered, draws))
    sets = {"nothing": (), "s1": ("s1",), "all scalars": ORACLE.scalars}
    in_turn = {label: kept(f"in turn, {label}", lambda n=n: joint_in_turn(run, n, 2_000)) for label, n in sets.items()}
    together = {
        label: kept(f"together, {label}", lambda n=n: joint_together(run, n, 20, 10_000, 10))
        for label, n in sets.items()
    }
    apart = [
        kept(f"C2ST of {rows} rows, {' '.join(names)}", lambda names=names: [two_samples(run, clean, names, rows)])[0]
        for names in sampled
    ]
    evidence = [names for names in ORACLE.subsets() if set(ORACLE.scalars) - set(names)][4::12]
    few, table = sizes.compared_rows, []
    for name, sampling in methods().items():
        mean, error_of_mean, c2st = kept(
            f"{name}, {few} rows", lambda sampling=sampling: compared(run, sampling, evidence, few)
        )
        table.append([name, STEPS * PASSES.get(name, 1), f"{mean:.2f} ± {error_of_mean:.2f}", f"{c2st:.3f}"])
    aims = markdown(
        ["measure", "aim", "measured"],
        [
            ["squared error over Bayes, 1 evaluation, mean over 62 evidence sets", "≤ 1.05", f"{ratio_1:.3f}"],
            [
                "squared error over Bayes, 4 evaluations",
                "≤ 1.03",
                f"{ratio_4:.3f}; worst {worst.ratio:.3f} (given {', '.join(worst.names)})",
            ],
            ["class probabilities, mean absolute error, 4 evaluations", "≤ .015", f"{classes:.4f}"],
            [
                f"C2ST, {sizes.rows} against {sizes.rows}, {STEPS} steps, mean over {len(sampled)} evidence sets",
                "≤ .53",
                f"{np.mean(apart):.3f}; worst {np.max(apart):.3f}",
            ],
            [
                f"coverage of 90 % intervals from {sizes.draws} draws, {sizes.coverage_rows} rows",
                "88 to 92 %",
                f"{100 * held:.1f} % (standard error {100 * error:.1f})",
            ],
            [
                "joint of the two categories by the chain rule, 1 + 1 evaluations: total variation over 2000 rows",
                "≤ .02",
                "; ".join(f"given {label} {found[0]:.4f}" for label, found in in_turn.items()),
            ],
            [
                "the same in one trajectory of 10 evaluations: 20 rows, 10000 draws each (exact draws)",
                "",
                "; ".join(f"given {label} {found:.3f} ({exact:.3f})" for label, (found, exact) in together.items()),
            ],
        ],
    )
    others = markdown(
        ["conditioning, same network", "evaluations per draw", "squared error over Bayes, mean", "C2ST"], table
    )
    picture, (left, right) = figure(2)
    for found, label in ((one, "1 evaluation"), (four, "4 evaluations")):
        ratios = sorted(errors.ratio for errors in found if errors.ratio == errors.ratio)
        left.plot(ratios, marker=".", label=label)
    left.axhline(1.0, color="grey", linewidth=0.8)
    left.set(xlabel="evidence set, best first", ylabel="squared error over Bayes")
    left.legend(frameon=False)
    right.scatter([len(names) for names in sampled], apart, s=14)
    right.axhline(0.5, color="grey", linewidth=0.8)
    right.set(xlabel="variables given", ylabel="C2ST", ylim=(0.48, max(0.56, max(apart) + 0.01)))
    page = publish(
        "analytic",
        "Conditionals of an analytic joint",
        [
            "Four scalars in a mixture of three Gaussians, a binary and a five-class category; the exact conditional "
            "of every evidence set is known. "
            f"`{' '.join(['python -m benchmarks.analytic', *sys.argv[1:]])}` trains on "
            f"{TRAINING_ROWS} rows and measures on fresh ones.",
            aims,
            f"The same network with other conditioning methods, on {len(evidence)} evidence sets with "
            f"{sizes.compared_rows} rows each; ± is the standard error over rows and draws (C2ST depends on the "
            "sample size, so compare within this table). The first row is with DPM-Solver++(2M) on the log-SNR grid, "
            "all others with DDIM on the uniform one:",
            others,
        ],
        picture,
    )
    print(page)


if __name__ == "__main__":
    main()
