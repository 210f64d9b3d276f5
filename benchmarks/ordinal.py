"""Ordinal variables: `ordinal` compared with `categorical`, on a joint distribution with known posteriors.

python -m benchmarks.ordinal [--output runs/benchmark-ordinal] [--rows 100 300 1000] [--cohorts 3]

Needs the plugin: pip install plugins/metavoxel-ordinal. The score is the ranked probability score (Epstein 1969): the
mean squared error of the cumulative probabilities, over the cuts between levels.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pandas
import torch
from jaxtyping import Float64
from torch import Tensor

from benchmarks.table_run import trained
from benchmarks.tables import figure, markdown, publish
from metavoxel.rng import Rng

LEVELS = 6
CUTS = torch.tensor([-0.9, -0.2, 0.3, 0.9, 1.6], dtype=torch.float64)
EVIDENCE = ("x1", "x2", "x3")
COVARIANCE = torch.tensor(
    [[1.0, 0.3, 0.2, 0.6], [0.3, 1.0, -0.1, 0.5], [0.2, -0.1, 1.0, -0.5], [0.6, 0.5, -0.5, 1.0]], dtype=torch.float64
)
"""Covariance of three numbers and of the latent one that is cut into levels."""
VARIANTS: Mapping[str, Mapping[str, object]] = {
    "categorical": {"type": "categorical"},
    "categorical, birth_death": {"type": "categorical", "kernel": "birth_death"},
    "ordinal": {"type": "ordinal"},
}
TRAINING = {"steps": 300, "batch_size": 128, "learning_rate": 1e-3, "warm_up": 30, "validate_every": 50}
BACKBONE = {"type": "transformer", "width": 48, "depth": 2, "heads": 4, "dropout": 0.1}
TEST_ROWS = 2000


def settings_of(variant: str, levels: Sequence[str]) -> dict[str, object]:
    """Return the ordinal variable's settings in a schema."""
    key = "levels" if VARIANTS[variant]["type"] == "ordinal" else "categories"
    return {**VARIANTS[variant], key: list(levels)}


def rows_of(count: int, purpose: str) -> dict[str, Tensor]:
    """Return exact draws of the joint distribution."""
    root = torch.linalg.cholesky(COVARIANCE)
    drawn = Rng.for_rows(count, "benchmark ordinal", purpose).normal((count, 4), dtype=torch.float64) @ root.T
    values = {name: drawn[:, place] for place, name in enumerate(EVIDENCE)}
    return {**values, "y": (drawn[:, 3:] > CUTS).sum(1)}


def exact(rows: Mapping[str, Tensor], names: Sequence[str]) -> Float64[Tensor, "b k"]:
    """Return p(level | some of the numbers)."""
    places = [EVIDENCE.index(name) for name in names]
    gain = torch.linalg.solve(COVARIANCE[places][:, places], COVARIANCE[places, 3])
    mean = torch.stack([rows[name] for name in names], 1) @ gain
    spread = (1 - gain @ COVARIANCE[places, 3]).sqrt()
    below = torch.special.ndtr((CUTS - mean[:, None]) / spread)
    return torch.diff(torch.nn.functional.pad(torch.nn.functional.pad(below, (0, 1), value=1.0), (1, 0)))


def ranked_score(probabilities: Float64[Tensor, "b k"], truth: Float64[Tensor, "b k"]) -> float:
    """Return the mean squared distance of cumulative probabilities from the true level's, or from exact ones."""
    return float((probabilities.cumsum(1) - truth.cumsum(1))[:, :-1].square().mean())


def analytic(output: Path, sizes: Sequence[int], cohorts: int) -> Iterator[tuple[str, int, int, float, float]]:
    """Yield (variant, rows, cohort, score, score of the exact posterior), over all evidence sets and test rows."""
    test = rows_of(TEST_ROWS, "test")
    truth = torch.nn.functional.one_hot(test["y"], LEVELS).double()
    subsets = [names for size in (1, 2, 3) for names in combinations(EVIDENCE, size)]
    for count in sizes:
        for cohort in range(cohorts):
            columns = rows_of(count + count // 4, f"cohort {cohort}")
            for variant in VARIANTS:
                run = trained(
                    output / f"{variant.replace(', ', '-')}-{count}-{cohort}",
                    columns,
                    categories={},
                    settings={"backbone": BACKBONE, "training": TRAINING},
                    validation=count // 4,
                    types={"y": settings_of(variant, [str(level) for level in range(LEVELS)])},
                )
                scores = []
                for names in subsets:
                    given = {name: test[name] for name in names}
                    probabilities = run.predict(given, evaluations=4, seed=1)["y"].double()
                    posterior = exact(test, names)
                    # This distance is the expected excess over the exact posterior's score, with less variance
                    scores.append((ranked_score(probabilities, posterior), ranked_score(posterior, truth)))
                excess, best = (sum(score[part] for score in scores) / len(scores) for part in (0, 1))
                print(f"  {variant}, {count} rows, cohort {cohort}: {best + excess:.4f} (exact {best:.4f})", flush=True)
                yield variant, count, cohort, best + excess, best


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-ordinal"))
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--cohorts", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    known = pandas.DataFrame(
        analytic(asked.output / "analytic", asked.rows, asked.cohorts),
        columns=["variant", "rows", "cohort", "score", "exact"],
    )
    means = known.groupby(["rows", "variant"], sort=False)["score"].agg(["mean", "std"]).reset_index()
    wide = known.pivot(index=["rows", "cohort"], columns="variant", values="score")
    paired = wide.sub(wide["categorical"], axis=0).groupby("rows").agg(["mean", "std"])
    picture, axes = figure(1)
    for variant, part in means.groupby("variant", sort=False):
        axes[0].errorbar(part["rows"], part["mean"], part["std"].fillna(0), label=variant, marker="o", capsize=3)
    axes[0].axhline(known["exact"].mean(), color="black", linestyle=":", label="exact posterior")
    axes[0].set(xlabel="training rows", ylabel="ranked probability score", xscale="log")
    axes[0].legend(frameon=False)
    cells = [
        [rows, variant, f"{mean:.4f} ± {sd:.4f}", f"{mean - known['exact'].mean():.4f}",
         "" if variant == "categorical"
         else f"{paired.loc[rows, (variant, 'mean')]:.4f} ± {paired.loc[rows, (variant, 'std')]:.4f}"]
        for rows, variant, mean, sd in means.itertuples(index=False)
    ]  # fmt: skip
    paragraphs = [
        f"Six levels cut a normal number that goes with three others; {asked.cohorts} cohorts of each size, all sets "
        f"of evidence, {TEST_ROWS} fresh rows. Exact posteriors score {known['exact'].mean():.4f}; lower is better. "
        "Mean ± standard deviation over cohorts; differences are paired, a cohort being the same for all. A "
        "score here is the exact posterior's plus the distance of the cumulative probabilities from the exact ones "
        "(mean square), which is what is expected of it. The joint is an ordered probit, which is what the plugin's "
        "adapter is made for; `categorical, birth_death` has the kernel alone.",
        markdown(["training rows", "variable", "ranked probability score", "above exact", "less categorical"], cells),
    ]
    print(publish("ordinal", "Graded scales", paragraphs, picture))


if __name__ == "__main__":
    main()
