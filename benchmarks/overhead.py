"""What sampling and training cost beyond the network: a sampler step and a training step beside bare passes.

python benchmarks/overhead.py RUN [--rows 16] [--rounds 15]

RUN is a trained run with a U-Net. Medians over interleaved rounds, in single precision, on the run's own codes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric

import metavoxel as mv
from metavoxel.learning.codes import bank
from metavoxel.learning.loop import Optimisation, Optimiser
from metavoxel.learning.objective import corrupt, loss_sums, ratio
from metavoxel.learning.times import evidence_times
from metavoxel.rng import Rng
from metavoxel.sampling.ask import Sampling, row_streams, sample_codes

STEPS = 10


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    joint = mv.load(arguments.run).joint
    rows = arguments.rows
    present = torch.ones(rows, dtype=torch.bool)
    banks = {}
    for name, kernel in joint.kernels.items():
        like = torch.zeros(1)
        code = kernel.prior((rows, *joint.code_shapes[name]), rng=Rng.for_rows(rows, name), like=like)
        banks[name] = bank({"present": present, "mean": code[:, None]})

    everyone = torch.arange(rows)

    def batch(step: int) -> object:
        rng = Rng.for_rows(rows, "overhead", step)
        times = evidence_times(present[:, None].expand(-1, len(banks)), rng.fork("times"))
        return corrupt(joint, banks, everyone, times, rng, device=torch.device("cpu"))

    fixed = batch(0)

    @torch.inference_mode()
    def bare_forward() -> None:
        for _ in range(STEPS):
            joint(fixed.states, fixed.times, fixed.observed)

    def sampler() -> None:
        sample_codes(joint, {}, row_streams(0, list(map(str, range(rows))), 0), Sampling(steps=STEPS))

    def losses(step: int, corrupted: object) -> dict[str, torch.Tensor]:
        predictions = joint(corrupted.states, corrupted.times, corrupted.observed)
        return {name: ratio(*sums) for name, sums in loss_sums(joint, predictions, corrupted).items()}

    def bare_backward() -> None:
        sum(losses(0, fixed).values()).backward()
        joint.zero_grad()

    fabric = Fabric(accelerator="cpu", devices=1)
    plan = Optimisation(10**6, 1e-6, weight_decay=0.0, warm_up=1, clip=1.0, ema=0.9)
    steps = Optimiser(fabric, joint, plan).run(lambda step: losses(step, batch(step)))
    measured: dict[str, list[float]] = {"forward": [], "sampler": [], "backward": [], "training": []}
    for round_ in range(arguments.rounds + 2):
        joint.eval()
        found = {"forward": timed(bare_forward), "sampler": timed(sampler)}
        joint.train()
        found |= {"backward": timed(bare_backward), "training": timed(lambda: next(steps))}
        if round_ >= 2:  # the first rounds warm up
            for name, seconds in found.items():
                measured[name].append(seconds)
    for work, reference in (("sampler", "forward"), ("training", "backward")):
        ratios = [a / b for a, b in zip(measured[work], measured[reference], strict=True)]
        median, low, high = statistics.median(ratios), min(ratios), max(ratios)
        print(f"{work} step / bare {reference}: {median:.3f} ({low:.3f} to {high:.3f})")
        print(
            f"  medians: {statistics.median(measured[work]):.3f} s and {statistics.median(measured[reference]):.3f} s"
        )


if __name__ == "__main__":
    main()
