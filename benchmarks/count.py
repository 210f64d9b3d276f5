"""Counts and censored measures: `count` beside `continuous`, on a skewed joint whose draws are exact.

python -m benchmarks.count [--output runs/benchmark-count] [--rows 300 3000] [--compared 2000]

Needs the plugin: pip install plugins/metavoxel-count. The measure is a classifier two-sample test (C2ST): how well a
random forest tells draws of the model from exact ones, .5 being not at all.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from benchmarks.table_run import TableRun, trained
from benchmarks.tables import figure, markdown, publish
from benchmarks.two_sample import c2st
from metavoxel.rng import Rng
from metavoxel.sampling.ask import Sampling

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
    "training": {"steps": 1500, "batch_size": 128, "learning_rate": 1e-3, "warm_up": 100, "validate_every": 250},
}


def rows_of(count: int, purpose: str) -> dict[str, Tensor]:
    """Exact draws: ages, lesions of which two in five subjects have none, and a concentration with a limit."""
    root = torch.linalg.cholesky(COVARIANCE)
    drawn = Rng.for_rows(count, "benchmark count", purpose).normal((count, 3), dtype=torch.float64) @ root.T
    lesions = torch.exp(1.1 * drawn[:, 1] + 0.3).floor()
    return {
        "age": 55 + 12 * drawn[:, 0],
        "lesions": lesions,
        "crp": torch.exp(1.2 * drawn[:, 2] + 0.5).clamp_min(LIMIT),
    }


def matrix(rows: Mapping[str, Tensor]) -> Float64[np.ndarray, "n d"]:
    """All variables as columns."""
    return np.stack([rows[name].double().numpy() for name in NAMES], 1)


def mended(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a careful user makes of draws of plain numbers: whole, and not below what there is."""
    return {**rows, "lesions": rows["lesions"].round().clamp_min(0), "crp": rows["crp"].clamp_min(LIMIT)}


def compared(run: TableRun, given: Sequence[str], rows: int, *, mend: bool) -> float:
    """C2ST of exact rows against rows of which all but ``given`` was drawn."""
    known = {name: rows_of(rows, "evidence")[name] for name in given}
    drawn = run.draw(known, Sampling(), rows=rows, seed=1)
    whole = {**known, **(mended({**known, **drawn}) if mend else drawn)}
    return c2st(matrix(rows_of(rows, "reference")), matrix(whole))


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-count"))
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 3000])
    parser.add_argument("--compared", type=int, default=2000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cells, shown = [], {}
    for count in asked.rows:
        columns = rows_of(count + count // 5, "cohort")
        for variant, types in VARIANTS.items():
            run = trained(
                asked.output / f"{variant.replace(', ', '-').replace(' ', '-')}-{count}",
                columns,
                categories={},
                settings=SETTINGS,
                validation=count // 5,
                types=types,
            )
            for mend in (False, True) if variant == "continuous" else (False,):
                apart = [compared(run, given, asked.compared, mend=mend) for given in ((), ("age",))]
                name = f"{variant}, rounded and clipped" if mend else variant
                cells.append([count, name, *(f"{value:.3f}" for value in apart)])
                print(f"  {cells[-1]}", flush=True)
            if count == asked.rows[-1] and variant in ("continuous", "count"):
                shown[variant] = run.draw({}, Sampling(), rows=asked.compared, seed=2)["lesions"]
    picture, axes = figure(1)
    edges = np.arange(-4.5, 20.5)
    for name, values in {"exact": rows_of(asked.compared, "shown")["lesions"], **shown}.items():
        axes[0].hist(values.numpy(), edges, histtype="step", density=True, label=name)
    axes[0].set(xlabel="lesions", ylabel="share of draws")
    axes[0].legend(frameon=False)
    paragraphs = [
        "Age, a number of lesions (two in five have none) and a concentration with a limit of detection, of one normal "
        f"law underneath; accuracy of a random forest that tells {asked.compared} drawn rows from as many exact ones.",
        markdown(["training rows", "variables", "C2ST, all drawn", "C2ST, given age"], cells),
    ]
    print(publish("count", "Counts and censored measures", paragraphs, picture))


if __name__ == "__main__":
    main()
