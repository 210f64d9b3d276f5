"""Conditionals of an analytic joint: a model trained on its rows beside the exact answers, for every evidence set.

python -m benchmarks.analytic [--output runs/benchmark-analytic] [--every 1] [--rows 10000] [--quick]

Six variables (four scalars in a mixture of normals, a binary and a five-class category), 62 evidence sets. Exact
answers are those of ``metavoxel.testing.oracle.MixtureOracle``; the rows judged on were not trained on.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from benchmarks.table_run import Rows, TableRun, trained
from benchmarks.tables import figure, markdown, publish
from benchmarks.two_sample import c2st
from metavoxel.rng import Rng
from metavoxel.sampling.ask import Sampling
from metavoxel.testing.oracle import MixtureOracle

ORACLE = MixtureOracle.default()
TRAINING_ROWS, VALIDATION_ROWS = 100_000, 1_000
SETTINGS = {
    "backbone": {"type": "transformer", "width": 64, "depth": 3, "dropout": 0.0},
    "training": {
        "steps": 10_000,
        "batch_size": 256,
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "warm_up": 300,
        "ema": 0.999,
        "validate_every": 1000,
    },
}
STEPS = 50


class Sizes(NamedTuple):
    """How much is measured: evidence sets, rows of a two-sample test, rows of an interval and draws of each."""

    every: int
    rows: int
    compared_rows: int
    coverage_rows: int
    draws: int


def model(output: Path) -> TableRun:
    """The trained model."""
    rows = ORACLE.sample(Rng.for_rows(TRAINING_ROWS + VALIDATION_ROWS, "benchmark analytic", "training rows"))
    return trained(output, rows, categories=ORACLE.categories, settings=SETTINGS, validation=VALIDATION_ROWS)


def fresh(rows: int, purpose: str) -> Rows:
    """Exact draws of the joint that were not trained on."""
    return ORACLE.sample(Rng.for_rows(rows, "benchmark analytic", "test rows", purpose))


def part(rows: Rows, names: Sequence[str]) -> dict[str, Tensor]:
    """The columns of some variables."""
    return {name: rows[name] for name in names}


class Errors(NamedTuple):
    """Of one evidence set: squared error over Bayes (NaN without a scalar), class probabilities (NaN without one)."""

    names: tuple[str, ...]
    ratio: float
    probabilities: float


def read_out(run: TableRun, rows: int, evaluations: int) -> Iterator[Errors]:
    """Posterior means against exact ones, over fresh rows, for every evidence set.

    The squared error against a new value of the variable is, in expectation, its exact posterior variance plus the
    squared distance of the prediction from the exact mean; that is what is averaged, for it has the least noise.
    """
    test = fresh(rows, "read-out")
    for names in ORACLE.subsets():
        given = part(test, names)
        exact, found = ORACLE.given(given), run.predict(given, evaluations=evaluations, seed=1)
        scalars = [name for name in ORACLE.scalars if name not in names]
        categories = [name for name in ORACLE.categories if name not in names]
        excess = [float((found[name] - exact.mean(name)).square().mean()) for name in scalars]
        bayes = [float(exact.variance(name).mean()) for name in scalars]
        off = [float((found[name] - exact.probabilities(name)).abs().mean()) for name in categories]
        yield Errors(
            names,
            1 + sum(excess) / sum(bayes) if scalars else float("nan"),
            float(np.mean(off)) if categories else float("nan"),
        )


def matrix(rows: Rows) -> Float64[np.ndarray, "n d"]:
    """All variables as columns."""
    return np.stack([rows[name].double().numpy() for name in ORACLE.names], 1)


def two_samples(run: TableRun, sampling: Sampling, names: Sequence[str], rows: int) -> float:
    """C2ST of exact joint rows against others whose unknown part was drawn by the model from their evidence.

    The two have no row in common, so that only a wrong conditional can tell them apart.
    """
    given = part(fresh(rows, "evidence"), names)
    drawn = run.draw(given, sampling, rows=rows, seed=2)
    return c2st(matrix(fresh(rows, "reference")), matrix(given | drawn))


def squared_error(run: TableRun, sampling: Sampling, names: Sequence[str], rows: int) -> float:
    """Squared error, over Bayes, of the mean of endlessly many draws.

    Two draws whose errors are independent given the evidence suffice: the mean product of their distances from the
    exact mean is the squared distance of the method's own mean.
    """
    given = part(fresh(rows, "squared error"), names)
    exact = ORACLE.given(given)
    first, second = (run.draw(given, sampling, rows=rows, seed=seed) for seed in (3, 4))
    scalars = [name for name in ORACLE.scalars if name not in names]
    excess = sum(float(((first[n] - exact.mean(n)) * (second[n] - exact.mean(n))).mean()) for n in scalars)
    return 1 + excess / sum(float(exact.variance(name).mean()) for name in scalars)


def coverage(run: TableRun, sampling: Sampling, rows: int, draws: int) -> tuple[float, float]:
    """Share of the exact conditional that 90 % intervals of a model's draws hold; mean over rows, standard error.

    Every row has an evidence set of its own and one scalar to predict, the rest integrated out.
    """
    test = fresh(rows, "coverage")
    asked = [(names, name) for names in ORACLE.subsets() for name in ORACLE.scalars if name not in names]
    held = []
    for place, (names, target) in enumerate(asked):
        which = torch.arange(place, rows, len(asked))
        if not len(which):
            continue
        given = {name: test[name][which].repeat_interleave(draws) for name in names}
        others = [name for name in ORACLE.names if name not in names and name != target]
        drawn = run.draw(given, sampling, rows=len(which) * draws, seed=5 + place, marginal=others)
        low, high = (drawn[target].reshape(-1, draws).quantile(level, 1, keepdim=True) for level in (0.05, 0.95))
        truth = ORACLE.given(given).sample(Rng.for_rows(len(which) * draws, "coverage", place))[target]
        truth = truth.reshape(-1, draws)
        held.append(((truth >= low) & (truth <= high)).double().mean(1))
    found = torch.cat(held)
    return float(found.mean()), float(found.std() / len(found) ** 0.5)


def joint_of_categories(run: TableRun, names: Sequence[str], rows: int, steps: int | None = None) -> float:
    """Total variation between the two categories' joint as drawn, pooled over rows of evidence, and the exact one.

    Without ``steps`` one after the other, in an evaluation each.
    """
    given = part(fresh(rows, "categories"), names)
    exact = ORACLE.given(given, rows=rows).probabilities(*ORACLE.categories).mean(0)
    order = tuple(ORACLE.categories)
    if steps is None:
        drawn = run.draw_in_turn(given, order, rows=rows, seed=6)
    else:
        others = [name for name in ORACLE.scalars if name not in names]
        drawn = run.draw(given, Sampling(steps=steps), rows=rows, seed=6, marginal=others)
    first, second = (drawn[name] for name in order)
    cells = torch.bincount(first * exact.shape[1] + second, minlength=exact.numel()).double() / rows
    return float((cells.reshape(exact.shape) - exact).abs().sum() / 2)


def methods() -> dict[str, Sampling]:
    """Ways to condition."""
    return {
        "clean": Sampling(steps=STEPS),
        "clean, DDIM": Sampling(steps=STEPS, solver="ddim", grid="uniform"),
        "replace": Sampling(steps=STEPS, solver="ddim", grid="uniform", conditioning="replace"),
        "repaint, 10 passes": Sampling(steps=STEPS, solver="ddim", grid="uniform", conditioning="repaint"),
        "smc, 64 particles": Sampling(
            steps=STEPS, solver="ddim", eta=1.0, grid="uniform", conditioning="smc", particles=64
        ),
    }


def compare(run: TableRun, sizes: Sizes, evidence: Sequence[Sequence[str]]) -> Iterator[list[object]]:
    """A row of the table of methods for each."""
    passes = {"repaint, 10 passes": 10, "smc, 64 particles": 64}
    for name, sampling in methods().items():
        start = time.perf_counter()
        errors = [squared_error(run, sampling, names, sizes.compared_rows) for names in evidence]
        apart = [two_samples(run, sampling, names, sizes.compared_rows) for names in evidence]
        seconds = time.perf_counter() - start
        print(f"  {name}: {np.mean(errors):.3f} {np.mean(apart):.3f} ({seconds:.0f} s)", flush=True)
        evaluations = STEPS * passes.get(name, 1)
        yield [name, evaluations, f"{np.mean(errors):.3f}", f"{np.max(errors):.3f}", f"{np.mean(apart):.3f}"]


def timed(what: str, measure: Callable[[], object]) -> object:
    """Run one measurement and print what came of it."""
    start = time.perf_counter()
    found = measure()
    print(f"  {what}: {found} ({time.perf_counter() - start:.0f} s)", flush=True)
    return found


def main() -> None:
    """Train what is not trained yet, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-analytic"))
    parser.add_argument("--every", type=int, default=1, help="draw for every so many evidence sets")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of either sample of the two-sample tests")
    parser.add_argument("--compared-rows", type=int, default=2_000, help="the same, where methods are compared")
    parser.add_argument("--coverage-rows", type=int, default=2_000)
    parser.add_argument("--quick", action="store_true", help="few evidence sets and rows")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.every, arguments.rows, arguments.compared_rows, arguments.coverage_rows, 200)
    if arguments.quick:
        sizes = Sizes(12, 2_000, 500, 200, 200)
    torch.set_num_threads(1)
    run = model(arguments.output)
    one, four = (list(read_out(run, 2_000, evaluations)) for evaluations in (1, 4))
    worst = max((errors for errors in four if errors.ratio == errors.ratio), key=lambda errors: errors.ratio)
    ratio_1, ratio_4 = (np.nanmean([errors.ratio for errors in found]) for found in (one, four))
    classes = np.nanmean([errors.probabilities for errors in four])
    print(f"  read-out: {ratio_1:.4f} {ratio_4:.4f} worst {worst}; classes {classes:.4f}", flush=True)
    sampled = list(ORACLE.subsets())[:: sizes.every]
    clean = methods()["clean"]
    held, error = timed("coverage", lambda: coverage(run, clean, sizes.coverage_rows, sizes.draws))
    sets = {"nothing": (), "s1": ("s1",), "all scalars": ORACLE.scalars}
    in_turn = {
        label: timed(f"in turn {label}", lambda n=n: joint_of_categories(run, n, 20_000)) for label, n in sets.items()
    }
    together = {
        label: timed(f"together {label}", lambda n=n: joint_of_categories(run, n, 20_000, 10))
        for label, n in sets.items()
    }
    apart = [
        timed(f"C2ST {names}", lambda names=names: two_samples(run, clean, names, sizes.rows)) for names in sampled
    ]
    compared = [names for names in sampled if set(ORACLE.scalars) - set(names)][1::3]
    table = list(compare(run, sizes, compared))
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
                "joint of the two categories, total variation: one after the other, 1 + 1 evaluations",
                "≤ .02",
                "; ".join(f"given {label} {value:.3f}" for label, value in in_turn.items()),
            ],
            [
                "the same, together in 10 evaluations",
                "",
                "; ".join(f"given {label} {value:.3f}" for label, value in together.items()),
            ],
        ],
    )
    others = markdown(
        ["conditioning, same network", "evaluations a draw", "squared error over Bayes, mean", "worst", "C2ST"], table
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
            "Four scalars in a mixture of three normals, a binary and a five-class category; the exact conditional of "
            "every evidence set is known. "
            f"`{' '.join(['python -m benchmarks.analytic', *sys.argv[1:]])}` trains on "
            f"{TRAINING_ROWS} rows and measures on fresh ones.",
            aims,
            f"The same network asked in other ways, on {len(compared)} evidence sets with {sizes.compared_rows} rows "
            "each (a smaller sample is harder to tell apart, so C2ST is to be compared within this table). The first "
            "row is with DPM-Solver++(2M) on the log-SNR grid, all others with DDIM on the uniform one:",
            others,
        ],
        picture,
    )
    print(page)


if __name__ == "__main__":
    main()
