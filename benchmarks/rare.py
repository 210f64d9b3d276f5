"""A class of one row in two hundred: log loss against that of the base rate, and equal answers for equal rows.

python -m benchmarks.rare [--rows 2000] [--share 0.005] [--test-rows 20000] [--seeds 0 1 2]
    [--output runs/benchmark-rare]

Two worlds with default settings. `alone`: the category is independent of two numbers, so that the base rate is the
exact answer. `shifted`: its rows have a mean of x that is 2 standard deviations higher, so that the exact answer is
logistic.
"""

import argparse
import math
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from benchmarks.table_run import TableRun, trained
from benchmarks.tables import markdown
from metavoxel.rng import Rng

WORLDS = {"alone": 0.0, "shifted": 2.0}
"""Shift of x in the rare class."""
EQUAL = 200
"""Rows with equal values."""


def draw_rows(world: str, rows: int, share: float, seed: int, part: str) -> dict[str, Tensor]:
    """Draw rows with exactly ``share`` of the rare class, in random order."""
    rng = Rng.for_rows(rows, world, str(seed), part)
    rare = rng.fork("order").uniform((rows,), dtype=torch.float64).argsort().argsort() < round(share * rows)
    x = rng.fork("x").normal((rows,), dtype=torch.float64) + WORLDS[world] * rare
    return {"x": x, "z": rng.fork("z").normal((rows,), dtype=torch.float64), "rare": rare.long()}


def exact(world: str, x: Float64[Tensor, "n"], share: float) -> Float64[Tensor, "n"]:
    """Return the exact probability of the rare class given x."""
    shift = WORLDS[world]
    return torch.sigmoid(math.log(share / (1 - share)) + shift * x - shift**2 / 2)


def log_loss(probability: Float64[Tensor, "n"], label: Int64[Tensor, "n"]) -> Float64[Tensor, "n"]:
    """Return -log of the probability of each row's class, in nats."""
    return -torch.where(label == 1, probability, 1 - probability).log()


def spread_of_equal(run: TableRun) -> float:
    """Return the largest difference of the probabilities of rows with equal values, over two seeds."""
    given = {"x": torch.full((EQUAL,), 0.7, dtype=torch.float64), "z": torch.full((EQUAL,), -0.2, dtype=torch.float64)}
    found = torch.cat([run.predict(given, evaluations=1, seed=seed)["rare"][:, 1] for seed in (0, 1)])
    return float(found.max() - found.min())


def main() -> None:
    """Train both worlds for every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.005)
    parser.add_argument("--test-rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-rare"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for world in WORLDS:
        for seed in asked.seeds:
            rows = draw_rows(world, asked.rows, asked.share, seed, "train")
            run = trained(
                asked.output / f"{world}-{seed}", rows, categories={"rare": 2}, settings={}, validation=asked.rows // 10
            )
            test = draw_rows(world, asked.test_rows, asked.share, seed, "test")
            given = {name: test[name] for name in ("x", "z")}
            probability = run.predict(given, evaluations=1, seed=seed)["rare"][:, 1].double()
            base = torch.full_like(probability, asked.share)
            own, of_base = log_loss(probability, test["rare"]), log_loss(base, test["rare"])
            least = log_loss(exact(world, test["x"], asked.share), test["rare"])
            difference = own - of_base
            error = float(difference.std()) / math.sqrt(len(difference))
            table.append(
                [
                    world, str(seed), f"{float(own.mean()):.4f}", f"{float(of_base.mean()):.4f}",
                    f"{float(least.mean()):.4f}", f"{float(difference.mean()):.4f} ± {error:.4f}",
                    f"{float(probability.min()):.5f}", f"{spread_of_equal(run):.1g}",
                ]
            )  # fmt: skip
    print(
        markdown(
            ["world", "seed", "log loss", "of the base rate", "exact", "less the base rate's", "lowest probability",
             "largest difference of equal rows"], table,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
