"""Error against network evaluations, for every solver and conditioning method, on the analytic joint distribution.

python -m benchmarks.evaluations [--output runs/benchmark-analytic] [--rows 1000] [--quick]

The network is that of ``benchmarks.analytic``, trained unless trained. There are two errors: of the mean (squared error
over Bayes, which matters for predictions) and of the spread (difference between the frequency of draws below an exact
quantile and its level, which matters for intervals).
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
from benchmarks.conditionals import ORACLE, fresh, mean_of, part, pure_noise, squared_error
from benchmarks.table_run import TableRun
from benchmarks.tables import figure, markdown, publish
from metavoxel.sampling.settings import Sampling

EVALUATIONS = (1, 2, 4, 10, 20, 50, 200)
"""Network evaluations per draw, including all passes and particles; the last only for methods with several."""
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
"""Network evaluations per step; that of ``smc`` is its number of particles, and it takes ancestral steps only."""


class Point(NamedTuple):
    """A setting: evaluations per draw, squared error over Bayes with its standard error, and error of the spread."""

    solver: str
    conditioning: str
    evaluations: int
    squared: float
    squared_error: float
    spread: float


def spread_error(run: TableRun, sampling: Sampling, names: Sequence[str], rows: int) -> float:
    """Return the mean absolute difference between the frequency of draws below an exact quantile and its level."""
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
    """Yield every solver and conditioning method at each number of evaluations, including all passes."""
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
    """Write the page; ``means`` are errors of the posterior mean by number of evaluations."""
    lines = [["posterior mean", "clean", *(f"{means[n]:.3f}" if n in means else "" for n in EVALUATIONS)]]
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
    left.plot([*means], [*means.values()], "k*-", label="posterior mean")
    left.axhline(1, color="grey", linewidth=0.8)
    left.set(xscale="log", yscale="log", xlabel="network evaluations per draw", ylabel="squared error over Bayes")
    left.set_yticks([1, 1.2, 1.5, 2], ["1", "1.2", "1.5", "2"])
    left.minorticks_off()
    right.set(xscale="log", yscale="log", xlabel="network evaluations per draw", ylabel="error of the spread")
    left.legend(frameon=False, fontsize=7)
    header = ["solver", "conditioning", *(str(count) for count in EVALUATIONS)]
    return publish(
        "evaluations",
        "Error against network evaluations",
        [
            "The network of the [analytic joint](analytic.md), with all unknown variables drawn together, given "
            + "; ".join(", ".join(names) for names in EVIDENCE)
            + f"; {rows} rows each. `python -m benchmarks.evaluations --rows {rows}`",
            "Squared error over Bayes of the mean of infinitely many draws (1 is exact; standard errors over rows and "
            f"draws are {min(errors):.3f} to {max(errors):.3f}), at each number of evaluations:",
            markdown(header, lines),
            "Error of the spread (0 is exact; sampling error alone gives about "
            f"{0.3 / rows**0.5:.3f}): difference between the frequency of draws below an exact quantile and its level.",
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
        count: float(np.mean([errors.ratio for errors in pure_noise(run, rows, count) if errors.names in EVIDENCE]))
        for count in (1, 2, 4)
    }
    found = list(points(run, rows))
    arguments.output.with_suffix(".evaluations.json").write_text(
        json.dumps([point._asdict() for point in found]), encoding="utf-8"
    )
    print(page(found, means, rows))


if __name__ == "__main__":
    main()
