"""Peak signal-to-noise ratio of unseen heads of ds000228 after the KL autoencoder: the closed-form code, then training.

python -m benchmarks.kl_vae --seeds 0 --set steps=1000 batch_size=1 [--every 250]

Every seed fits the codec of the example's schema to the training part of a split. Figures of the validation part are
printed during training; the test part is evaluated once, at the end.
"""

import argparse
import shutil
import time
from pathlib import Path

import torch
import yaml
from lightning_fabric import Fabric

import metavoxel as mv
from benchmarks.ds000228 import EXAMPLE, TABLE, psnr, with_split
from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import read_cohort
from metavoxel.learning.codec_training import fit_codec
from metavoxel.learning.precision import flushed_denormals
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.runs.checkpoints import Checkpoints


def quality(codec: AbstractCodec, cohort: Cohort, part: str) -> float:
    """Return the mean PSNR (dB) of the images of a part, over voxels that are not padding."""
    column = cohort.columns["T1w"]
    inside = cohort.variables["T1w"].inside(str(column.cells[0])).flatten().numpy()
    codec.eval()
    with torch.inference_mode():
        pairs = [(codec.decode(codec.encode(x).mean), x) for x in map(column.read, cohort.parts[part][:, None])]
    rebuilt, data = (torch.cat(images).flatten(1).numpy() for images in zip(*pairs, strict=True))
    return float(psnr(rebuilt, data, inside).mean())


def main() -> None:
    """Fit the codec of every split, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-kl-vae"))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the codec")
    parser.add_argument("--every", type=int, default=250, help="steps between figures of the validation part")
    arguments = parser.parse_args()
    spec = KLVAESpec(**{name: yaml.safe_load(value) for name, value in (item.split("=") for item in arguments.set)})
    results = []
    for seed in arguments.seeds:
        schema = with_split(mv.load_schema(EXAMPLE / "schema.yaml"), seed, arguments.table)
        cohort = read_cohort(
            schema.specs, schema.cohort, folder=schema.folder, multiples=schema.multiples(),
            cache=arguments.output / "cache",
        )  # fmt: skip
        torch.manual_seed(seed)
        codec = spec.build(cohort.variables["T1w"].data_shape)
        start, first = time.process_time(), {}
        with flushed_denormals():
            fabric = Fabric(accelerator="cpu", precision="32-true")
            folder = arguments.output / f"codec-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            checkpoints = Checkpoints(folder, "codec")
            for step in fit_codec("T1w", codec, cohort, fabric, seed=seed, checkpoints=checkpoints):
                if step.number == 1:
                    first = {part: quality(codec, cohort, part) for part in ("validation", "test")}
                    print(f"split {seed}, step 1: " + "  ".join(f"{part} {dB:.2f}" for part, dB in first.items()))
                if step.number % arguments.every == 0:
                    minutes, dB = (time.process_time() - start) / 60, quality(codec, cohort, "validation")
                    losses = "  ".join(f"{name} {value:.4f}" for name, value in step.losses.items())
                    print(f"split {seed}, step {step.number}: {minutes:.1f} CPU minutes  {losses}  validation {dB:.2f}")
                    codec.train()
        results.append((first["test"], quality(codec, cohort, "test")))
        minutes, (before, after) = (time.process_time() - start) / 60, results[-1]
        print(f"split {seed}: test {before:.2f} dB at step 1, {after:.2f} trained, {minutes:.1f} CPU minutes")
    if len(results) > 1:
        for name, values in zip(("step 1", "trained"), zip(*results, strict=True), strict=True):
            print(f"{name}: {sum(values) / len(values):.2f} dB ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
