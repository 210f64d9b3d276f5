"""Counts and censored measures: `count` compared with `continuous`, on a skewed joint distribution with exact draws.

python -m benchmarks.count [--output runs/benchmark-count] [--rows 300 3000] [--cohorts 3] [--compared 1000]

Needs the plugin: pip install plugins/metavoxel-count. The measure is a classifier two-sample test (C2ST): the
accuracy of a random forest that separates draws of the model from exact ones; .5 is the optimum.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas
import torch
from jaxtyping import Float64
from torch import Tensor

import metavoxel as mv
from benchmarks.table_run import TableRun, trained
from benchmarks.tables import figure, markdown, publish
from metavoxel.evaluation.metrics.two_sample import c2st
from metavoxel.rng import Rng
from metavoxel.sampling.settings import Sampling

NAMES = ("age", "lesions", "crp")
LIMIT = 0.5
COVARIANCE = torch.tensor([[1.0, 0.6, 0.3], [0.6, 1.0, 0.4], [0.3, 0.4, 1.0]], dtype=torch.float64)
VARIANTS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "continuous": {},
    "count": {
        "lesions": {"type": "count"},
        "crp": {"type": "count", "whole": False, "limits": [LIMIT, None]},
    },
    "count, scale log": {
        "lesions": {"type": "count", "scale": "log"},
        "crp": {"type": "count", "scale": "log", "whole": False, "limits": [LIMIT, None]},
    },
}
SETTINGS = {
    "backbone": {"type": "transformer", "width": 48, "depth": 2, "heads": 4, "dropout": 0.0},
    "training": {"steps": 300, "batch_size": 256, "learning_rate": 1e-3, "warm_up": 30, "validate_every": 100},
}


def rows_of(count: int, purpose: str) -> dict[str, Tensor]:
    """Return exact draws: ages, lesion counts (0 in two of five subjects), and a censored concentration."""
    root = torch.linalg.cholesky(COVARIANCE)
    drawn = Rng.for_rows(count, "benchmark count", purpose).normal((count, 3), dtype=torch.float64) @ root.T
    lesions = torch.exp(1.1 * drawn[:, 1] + 0.3).floor()
    return {
        "age": 55 + 12 * drawn[:, 0],
        "lesions": lesions,
        "crp": torch.exp(1.2 * drawn[:, 2] + 0.5).clamp_min(LIMIT),
    }


def matrix(rows: Mapping[str, Tensor]) -> Float64[np.ndarray, "n d"]:
    """Return all variables as columns."""
    return np.stack([rows[name].double().numpy() for name in NAMES], 1)


def cleaned(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return draws of `continuous` variables rounded to whole numbers and clipped to possible values."""
    return {**rows, "lesions": rows["lesions"].round().clamp_min(0), "crp": rows["crp"].clamp_min(LIMIT)}


def compared(run: TableRun, given: Sequence[str], rows: int, *, clean: bool) -> float:
    """Return the C2ST of exact rows against rows with all variables but ``given`` drawn."""
    known = {name: rows_of(rows, "evidence")[name] for name in given}
    drawn = run.draw(known, Sampling(), rows=rows, seed=1)
    whole = {**known, **(cleaned({**known, **drawn}) if clean else drawn)}
    return c2st(matrix(rows_of(rows, "reference")), matrix(whole))


def run_folder(output: Path, variant: str, rows: int, cohort: int) -> Path:
    """Return the run folder of one training."""
    return output / f"{variant.replace(', ', '-').replace(' ', '-')}-{rows}-{cohort}"


def measured(
    output: Path, sizes: Sequence[int], cohorts: int, rows: int
) -> Iterator[tuple[int, int, str, float, float]]:
    """Yield (training rows, cohort, variables, C2ST of all drawn, C2ST given age)."""
    for count, cohort in product(sizes, range(cohorts)):
        columns = rows_of(count + count // 5, f"cohort {cohort}")
        for variant, types in VARIANTS.items():
            run = trained(
                run_folder(output, variant, count, cohort),
                columns,
                categories={},
                settings=SETTINGS,
                validation=count // 5,
                types=types,
            )
            for clean in (False, True) if variant == "continuous" else (False,):
                apart, apart_age = (compared(run, given, rows, clean=clean) for given in ((), ("age",)))
                name = f"{variant}, rounded and clipped" if clean else variant
                print(f"  {count} rows, cohort {cohort}, {name}: {apart:.3f}, given age {apart_age:.3f}", flush=True)
                yield count, cohort, name, apart, apart_age


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-count"))
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 3000])
    parser.add_argument("--cohorts", type=int, default=3)
    parser.add_argument("--compared", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = pandas.DataFrame(
        measured(arguments.output, arguments.rows, arguments.cohorts, arguments.compared),
        columns=["rows", "cohort", "variables", "apart", "apart_age"],
    )
    cells = [
        [rows, name, *(f"{part[column].mean():.3f} ± {part[column].std():.3f}" for column in ("apart", "apart_age"))]
        for (rows, name), part in found.groupby(["rows", "variables"], sort=False)
    ]
    shown = {
        variant: TableRun(mv.load(run_folder(arguments.output, variant, arguments.rows[-1], 0)))
        .draw({}, Sampling(), rows=arguments.compared, seed=2)["lesions"]
        for variant in ("continuous", "count")
    }  # fmt: skip
    picture, axes = figure(1)
    edges = np.arange(-4.5, 20.5)
    for name, values in {"exact": rows_of(arguments.compared, "shown")["lesions"], **shown}.items():
        axes[0].hist(values.numpy(), edges, histtype="step", density=True, label=name)
    axes[0].set(xlabel="lesions", ylabel="share of draws")
    axes[0].legend(frameon=False)
    paragraphs = [
        "Age, a number of lesions (0 in two of five) and a concentration with a limit of detection, transformed from "
        f"one Gaussian; accuracy of a random forest that separates {arguments.compared} drawn from as many exact rows; "
        f"mean ± standard deviation over {arguments.cohorts} cohorts.",
        markdown(["training rows", "variables", "C2ST, all drawn", "C2ST, given age"], cells),
    ]
    print(publish("count", "Counts and censored measures", paragraphs, picture))


if __name__ == "__main__":
    main()
