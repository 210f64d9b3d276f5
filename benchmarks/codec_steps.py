"""CPU time of a training step by codec: the demo's variables and grid, with random smooth codes, one thread.

python -m benchmarks.codec_steps [--steps 4]

A step has 16 rows that pass through the U-Net and 32 that do not, as by default. The time is that of the process, so
that other jobs of the machine matter less.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.tables import markdown
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import corrupt, loss_sums
from metavoxel.learning.time_sampling import evidence_times
from metavoxel.plugins.registry import load_registry
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.schema import parse_schema

CODECS: dict[str, dict[str, object]] = {
    "`kl_vae`": {"type": "kl_vae"},
    "`local_pca`, 32": {"type": "local_pca", "channels": 32},
    "`wavelet`, 2 levels": {"type": "wavelet"},
}
GRID = [40, 48, 40]
ROWS, GRID_ROWS, CACHED = 48, 16, 48


def step_seconds(codec: dict[str, object], steps: int, *, bands: bool = True) -> list[float]:
    """Return the CPU times of training steps, after one that is not counted; without ``bands``, of one field."""
    affine = np.diag([5.0, 5.0, 5.0, 1.0]).tolist()
    image = {"type": "image", "column": "image", "shape": GRID, "affine": affine, "codec": codec}
    variables = {"T1w": image, "age": {"type": "continuous"}, "sex": {"type": "categorical", "categories": ["F", "M"]}}
    raw = {"cohort": {"table": "people.csv"}, "variables": variables}
    schema = parse_schema(raw, folder=Path(), registry=load_registry(entry_points=False))
    codecs = build_codecs(schema)
    if not bands:
        codecs["T1w"].bands = None
    torch.manual_seed(0)
    joint = build_joint(schema, codecs).train()
    caches = {}
    for name, built in codecs.items():
        code = torch.randn(CACHED, 1, *built.code_shape)
        spatial = len(built.code_shape) > 1
        trusted = torch.zeros(CACHED, 1, 1, *built.code_shape[1:], dtype=torch.bool)
        trusted[..., : trusted.shape[-1] // 2] = True
        caches[name] = LatentCache(
            torch.ones(CACHED, dtype=torch.bool), code, None, code if spatial else None, trusted if spatial else None
        )
    optimiser, found = torch.optim.AdamW(joint.parameters()), []
    for number in range(steps + 1):
        start, rng = time.process_time(), Rng.for_rows(ROWS, "step", number)
        times = evidence_times(torch.ones(ROWS, len(codecs), dtype=torch.bool), rng.fork("times"))
        noised = corrupt(joint, caches, torch.arange(ROWS) % CACHED, times, rng, device=torch.device("cpu"))
        predictions = joint(noised.states, noised.times, noised.observed, grid_rows=GRID_ROWS)
        optimiser.zero_grad()
        sums = loss_sums(joint, predictions, noised).values()
        torch.stack([total / count.clamp_min(1) for total, count in sums]).sum().backward()
        optimiser.step()
        found.append(time.process_time() - start)
    return found[1:]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    lines = []
    for name, codec in CODECS.items():
        for bands in (True, False) if codec["type"] != "kl_vae" else (True,):
            times = step_seconds(codec, steps, bands=bands)
            label = name if bands else f"{name}, one field"
            lines.append([label, f"{np.mean(times):.2f} ({min(times):.2f} to {max(times):.2f})"])
            print(lines[-1], flush=True)
    print(markdown(["codec", "CPU seconds of a step (range)"], lines))


if __name__ == "__main__":
    main()
