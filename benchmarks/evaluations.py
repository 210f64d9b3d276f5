"""Error against network evaluations, for every solver and way to condition, on the analytic joint.

python -m benchmarks.evaluations [--output runs/benchmark-analytic] [--rows 1000] [--quick]

The network is the one of ``benchmarks.analytic``, trained there if it is not yet. Two errors: of the mean (squared
error over Bayes; what a prediction needs) and of the spread (how far the share of draws below an exact quantile is from
its level; what an interval needs).
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.analytic import model
from benchmarks.conditionals import ORACLE, fresh, mean_of, part, read_out, squared_error
from benchmarks.table_run import TableRun
from benchmarks.tables import figure, markdown, publish
from metavoxel.sampling.settings import Sampling

EVALUATIONS = (1, 2, 4, 10, 20, 50, 200)
"""Of a draw, all passes and particles counted; the last for what has several alone."""
EVIDENCE: Sequence[tuple[str, ...]] = (("s1",), ("s2", "five"), ("s1", "s3", "binary"))
MOST_STEPS = 50
LEVELS = tuple(float(level) for level in np.arange(1, 20) / 20)
SOLVERS = {
    "ddim": Sampling(solver="ddim", grid="uniform"),
    "ddim, eta 1": Sampling(solver="ddim", grid="uniform", eta=1.0),
    "ddim, log-SNR grid": Sampling(solver="ddim"),
    "dpmpp_2m": Sampling(grid="uniform"),
    "dpmpp_2m, log-SNR grid": Sampling(),
}
PASSES = {"clean": 1, "replace": 1, "repaint": 10, "smc": 10}
"""Network evaluations a step: ``smc`` has so many particles, and takes ancestral steps alone."""


class Point(NamedTuple):
    """One setting, its evaluations a draw, squared error over Bayes with its standard error, error of the spread."""

    solver: str
    conditioning: str
    evaluations: int
    squared: float
    squared_error: float
    spread: float


def spread_error(run: TableRun, sampling: Sampling, names: Sequence[str], rows: int) -> float:
    """Mean distance of the share of draws below an exact quantile from its level, over unknown scalars and levels."""
    given = part(fresh(rows, "spread"), names)
    exact, drawn = ORACLE.given(given), run.draw(given, sampling, rows=rows, seed=7)
    scalars = [name for name in ORACLE.scalars if name not in names]
    below = [
        float((drawn[name] < exact.quantile(name, level)).double().mean()) - level
        for name in scalars
        for level in LEVELS
    ]
    return float(np.abs(below).mean())


def points(run: TableRun, rows: int) -> Iterator[Point]:
    """Every solver and conditioning at each number of evaluations; ``repaint`` counts its passes."""
    for conditioning, passes in PASSES.items():
        for solver, settings in SOLVERS.items():
            for evaluations in EVALUATIONS:
                steps = evaluations // passes
                if steps < 1 or steps > MOST_STEPS or (conditioning == "smc" and settings.eta != 1):
                    continue
                sampling = replace(settings, steps=steps, conditioning=conditioning, particles=passes)
                squared = mean_of([squared_error(run, sampling, names, rows) for names in EVIDENCE])
                spread = float(np.mean([spread_error(run, sampling, names, rows) for names in EVIDENCE]))
                found = Point(solver, conditioning, evaluations, *squared, spread)
                print(f"  {found}", flush=True)
                yield found


def page(found: Sequence[Point], means: Mapping[int, float], rows: int) -> Path:
    """Write the page; ``means`` are of the read-out, by its evaluations."""
    lines = [["read-out (posterior mean)", "clean", *(f"{means[n]:.3f}" if n in means else "" for n in EVALUATIONS)]]
    spreads, errors = [], [point.squared_error for point in found]
    picture, (left, right) = figure(2)
    styles = {"clean": "-", "replace": ":", "repaint": "--", "smc": "-."}
    for conditioning in PASSES:
        for place, solver in enumerate(SOLVERS):
            line = {point.evaluations: point for point in found if point[:2] == (solver, conditioning)}
            if not line:
                continue
            lines.append([solver, conditioning, *(f"{line[n].squared:.3f}" if n in line else "" for n in EVALUATIONS)])
            spreads.append([solver, conditioning, *(f"{line[n].spread:.3f}" if n in line else "" for n in EVALUATIONS)])
            for axis, values in (
                (left, [point.squared for point in line.values()]),
                (right, [point.spread for point in line.values()]),
            ):
                label = solver if conditioning == "clean" else None
                axis.plot([*line], values, styles[conditioning], color=f"C{place}", label=label, marker=".")
    left.plot([*means], [*means.values()], "k*-", label="read-out")
    left.axhline(1, color="grey", linewidth=0.8)
    left.set(xscale="log", yscale="log", xlabel="network evaluations a draw", ylabel="squared error over Bayes")
    left.set_yticks([1, 1.2, 1.5, 2], ["1", "1.2", "1.5", "2"])
    left.minorticks_off()
    right.set(xscale="log", yscale="log", xlabel="network evaluations a draw", ylabel="error of the spread")
    left.legend(frameon=False, fontsize=7)
    header = ["solver", "conditioning", *(str(count) for count in EVALUATIONS)]
    return publish(
        "evaluations",
        "Error against network evaluations",
        [
            "The network of the [analytic joint](analytic.md), asked for all unknown variables together, given "
            + "; ".join(", ".join(names) for names in EVIDENCE)
            + f"; {rows} rows each. `python -m benchmarks.evaluations --rows {rows}`",
            "Squared error over Bayes of the mean of endlessly many draws (1 is exact; chance in rows and draws has "
            f"standard errors of {min(errors):.3f} to {max(errors):.3f}), at each number of evaluations:",
            markdown(header, lines),
            "Error of the spread (0 is exact; chance alone gives about "
            f"{0.3 / rows**0.5:.3f}): how far the share of draws below an exact quantile is from its level.",
            markdown(header, spreads),
            "Solid lines are `clean`, dotted `replace`, dashed `repaint` with 10 passes, dash-dotted `smc` with 10 "
            "particles; evaluations count all passes and all particles.",
        ],
        picture,
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-analytic"))
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="few rows")
    arguments = parser.parse_args()
    rows = 200 if arguments.quick else arguments.rows
    torch.set_num_threads(1)
    run = model(arguments.output)
    means = {
        count: float(np.mean([errors.ratio for errors in read_out(run, rows, count) if errors.names in EVIDENCE]))
        for count in (1, 2, 4)
    }
    found = list(points(run, rows))
    arguments.output.with_suffix(".evaluations.json").write_text(
        json.dumps([point._asdict() for point in found]), encoding="utf-8"
    )
    print(page(found, means, rows))


if __name__ == "__main__":
    main()
