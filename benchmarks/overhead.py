"""Overhead of sampling and training: a sampler step and a training step compared with bare passes of the network.

python benchmarks/overhead.py RUN [--rows 16] [--rounds 15]

RUN is a trained run with a U-Net. Medians over interleaved rounds, in single precision, on random codes. A
training step has rows with grids and further rows with tokens alone; the bare forward and backward pass is of the same
rows and, in a second comparison, of the former only.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric

import metavoxel as mv
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.loop import Optimisation, Optimiser
from metavoxel.learning.objective import Corrupted, corrupt, loss_sums, ratio
from metavoxel.learning.time_sampling import evidence_times
from metavoxel.parts.backbones.unet import UNetSpec
from metavoxel.rng import Rng
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling

STEPS = 10


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--token-rows", type=int, default=UNetSpec().default_plan().token_rows)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    joint = mv.load(arguments.run).joint
    grid_rows = arguments.rows
    rows = grid_rows + arguments.token_rows
    present = torch.ones(rows, dtype=torch.bool)
    banks = {}
    for name, kernel in joint.kernels.items():
        like = torch.zeros(1)
        code = kernel.prior((rows, *joint.code_shapes[name]), rng=Rng.for_rows(rows, name), like=like)
        banks[name] = LatentCache(present, code[:, None])

    all_rows = torch.arange(rows)

    def batch(step: int) -> Corrupted:
        rng = Rng.for_rows(rows, "overhead", step)
        times = evidence_times(present[:, None].expand(-1, len(banks)), rng.fork("times"))
        return corrupt(joint, banks, all_rows, times, rng, device=torch.device("cpu"))

    fixed = batch(0)
    few = {part: {name: x[:grid_rows] for name, x in getattr(fixed, part).items()} for part in fixed._fields}
    first = Corrupted(**few)

    @torch.inference_mode()
    def bare_forward() -> None:
        for _ in range(STEPS):
            joint(first.states, first.times, first.observed)

    def sampler() -> None:
        sample_codes(joint, {}, row_streams(0, list(map(str, range(grid_rows))), 0), Sampling(steps=STEPS))

    def losses(corrupted: Corrupted, beyond: int | None = grid_rows) -> dict[str, torch.Tensor]:
        predictions = joint(corrupted.states, corrupted.times, corrupted.observed, grid_rows=beyond)
        return {name: ratio(*sums) for name, sums in loss_sums(joint, predictions, corrupted).items()}

    def bare_backward() -> None:
        sum(losses(fixed).values()).backward()
        joint.zero_grad()

    def bare_backward_of_grid_rows() -> None:
        sum(losses(first, None).values()).backward()
        joint.zero_grad()

    fabric = Fabric(accelerator="cpu", devices=1)
    plan = Optimisation(10**6, 1e-6, weight_decay=0.0, warm_up=1, clip=1.0, ema=0.9)
    steps = Optimiser(fabric, joint, plan).run(lambda step: losses(batch(step)))
    measured: dict[str, list[float]] = {
        "forward": [],
        "sampler": [],
        "backward": [],
        "of grid rows": [],
        "training": [],
    }
    for round_ in range(arguments.rounds + 2):
        joint.eval()
        found = {"forward": timed(bare_forward), "sampler": timed(sampler)}
        joint.train()
        found |= {"backward": timed(bare_backward), "training": timed(lambda: next(steps))}
        found["of grid rows"] = timed(bare_backward_of_grid_rows)
        if round_ >= 2:  # the first rounds warm up
            for name, seconds in found.items():
                measured[name].append(seconds)
    for work, reference in (("sampler", "forward"), ("training", "backward"), ("training", "of grid rows")):
        ratios = [a / b for a, b in zip(measured[work], measured[reference], strict=True)]
        median, low, high = statistics.median(ratios), min(ratios), max(ratios)
        print(f"{work} step / bare {reference}: {median:.3f} ({low:.3f} to {high:.3f})")
        print(
            f"  medians: {statistics.median(measured[work]):.3f} s and {statistics.median(measured[reference]):.3f} s"
        )


if __name__ == "__main__":
    main()
