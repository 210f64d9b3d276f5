"""Cost of further scalars: a training step of one U-Net with a volume and 1, 3, 10, 30 and 100 scalars.

python -m benchmarks.many_scalars [--scalars 1 3 10 30 100] [--rounds 15]

The latent of a head at 4 mm (8 x 10 x 12 x 10), the default network and batch, with random codes; every tenth scalar is
a category of three. Whole steps are measured, from drawing times and noise to the moving average of the weights, in
processor time of one thread. Rounds interleave the models, so that slow periods of the machine affect all of them; the
first two warm up. Writes docs/images/many_scalars.png.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric

from benchmarks.tables import figure, markdown
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.loop import Optimisation, Optimiser, Step
from metavoxel.learning.objective import corrupt, loss_sums, ratio
from metavoxel.learning.precision import flushed_denormals, resolve_precision
from metavoxel.learning.time_sampling import evidence_times
from metavoxel.network.joint import JointModel
from metavoxel.parts.backbones.unet import UNetSpec
from metavoxel.rng import Rng
from metavoxel.schema import parse_schema

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "many_scalars.png"
LATENT = (8, 10, 12, 10)
ROWS = 96
"""Rows of the cohort, to which the Gaussian baseline is fitted."""


def joint_of(scalars: int) -> JointModel:
    """Return the default network of a schema with a volume and this number of scalars."""
    variables: dict[str, object] = {"T1w": {"type": "image"}}
    for number in range(scalars):
        if number % 10 == 9:
            variables[f"label{number}"] = {"type": "categorical", "categories": ["a", "b", "c"]}
        else:
            variables[f"number{number}"] = {"type": "continuous", "range": [0, 1]}
    schema = parse_schema({"cohort": {"table": "none.csv"}, "variables": variables}, folder=Path())
    shapes = {name: (3,) if name.startswith("label") else (1,) for name in variables} | {"T1w": LATENT}
    torch.manual_seed(0)
    return JointModel(schema.variables, shapes, schema.backbone, shared_time=False)


def steps_of(joint: JointModel, fabric: Fabric) -> Iterator[Step]:
    """Train a model on random codes indefinitely."""
    plan = UNetSpec().default_plan()
    rows = plan.batch_size + plan.token_rows
    banks = {}
    for name, kernel in joint.kernels.items():
        code = kernel.prior((ROWS, *joint.code_shapes[name]), rng=Rng.for_rows(ROWS, name), like=torch.zeros(1))
        banks[name] = LatentCache(torch.ones(ROWS, dtype=torch.bool), code[:, None])
    codes = {name: found.mean[:, 0] for name, found in banks.items()}
    joint.baseline.fit(codes, {name: found.present for name, found in banks.items()})
    present = torch.ones(rows, len(banks), dtype=torch.bool)
    optimiser = Optimiser(fabric, joint, Optimisation(10**6, 1e-4, 0.1, warm_up=1, clip=1.0, ema=0.995))

    def losses(step: int) -> dict[str, torch.Tensor]:
        rng = Rng.for_rows(rows, "many", step)
        times = evidence_times(present, rng.fork("times"))
        chosen = torch.arange(step * rows, (step + 1) * rows) % ROWS
        corrupted = corrupt(joint, banks, chosen, times, rng, device=fabric.device)
        predictions = optimiser.wrapped(
            corrupted.states, corrupted.times, corrupted.observed, grid_rows=plan.batch_size
        )
        return {name: ratio(*sums) for name, sums in loss_sums(joint, predictions, corrupted).items()}

    return optimiser.run(losses)


def draw(seconds: Mapping[int, Sequence[float]], path: Path) -> None:
    """Plot the median processor time of a step by the number of scalars, with the range over rounds."""
    board, (axis,) = figure(1)
    medians = [1000 * statistics.median(found) for found in seconds.values()]
    below = [1000 * (statistics.median(found) - min(found)) for found in seconds.values()]
    above = [1000 * (max(found) - statistics.median(found)) for found in seconds.values()]
    axis.errorbar(list(seconds), medians, [below, above], marker="o", capsize=3)
    axis.axhline(2 * medians[0], color="grey", linestyle=":", label=f"twice the step with {min(seconds)}")
    axis.set(xscale="log", xlabel="scalars beside a volume", ylabel="processor ms a training step", ylim=(0, None))
    axis.set_xticks(list(seconds), list(map(str, seconds)))
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    board.savefig(path, dpi=80)


def main() -> None:
    """Measure, print the table and draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scalars", type=int, nargs="+", default=[1, 3, 10, 30, 100])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    precision = resolve_precision("auto", half=True)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    models = {count: joint_of(count) for count in arguments.scalars}
    with flushed_denormals():
        trainings = {count: steps_of(model, fabric) for count, model in models.items()}
        seconds: dict[int, list[float]] = {count: [] for count in models}
        for number in range(arguments.rounds + 2):
            for count, training in trainings.items():
                gc.collect()
                begun = time.process_time()
                next(training)
                if number >= 2:
                    seconds[count].append(time.process_time() - begun)
    fewest = min(seconds)
    rows = []
    for count, found in seconds.items():
        ratios = [a / b for a, b in zip(found, seconds[fewest], strict=True)]
        size = sum(weight.numel() for weight in models[count].parameters()) / 1e6
        middle, low, high = (1000 * value for value in (statistics.median(found), min(found), max(found)))
        times = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        rows.append([count, f"{size:.2f}", f"{middle:.0f} [{low:.0f}, {high:.0f}]", times])
    print(f"{precision}, median of {arguments.rounds} rounds [lowest, highest]")
    print(markdown(["scalars", "M parameters", "ms per step", f"times that of {fewest}"], rows))
    draw(seconds, arguments.picture)


if __name__ == "__main__":
    main()
