"""Arithmetic of a training on many GPUs: rows and memory per device, and disk, from shapes alone.

python benchmarks/cluster.py [--scans 10000] [--shape 184 224 184] [--batch 64] [--devices 1 8 32] [--channels 32 64]

The schema has one image with the default codec, an age and a sex. No weight is made and no image is read, so that it
takes seconds on any machine.
"""

import argparse
import math
from pathlib import Path

import torch

from metavoxel.learning.batches import rows_per_step
from metavoxel.learning.device_memory import device_memory
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.schema import Schema, parse_schema

GB = 1e9
ARRAYS, VERSIONS = 3, 2
"""Numbers cached per cell and channel (mean, sd, partly hidden mean), and codes per image of a large cohort."""


def schema_of(shape: list[int], batch: int, channels: list[int] | None) -> Schema:
    """Return the schema of an image, a number and a category."""
    raw: dict[str, object] = {
        "cohort": {"table": "table.csv"},
        "variables": {
            "T1w": {"type": "image", "shape": shape},
            "age": {"type": "continuous"},
            "sex": {"type": "categorical", "categories": ["F", "M"]},
        },
        "training": {"batch_size": batch},
    }
    if channels:
        raw["backbone"] = {"type": "unet", "channels": channels}
    return parse_schema(raw, folder=Path())


def main() -> None:
    """Print the codes and the disk, then a line for each number of devices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--shape", type=int, nargs=3, default=[184, 224, 184])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--channels", type=int, nargs="+")
    chosen = parser.parse_args()
    schema = schema_of(chosen.shape, chosen.batch, chosen.channels)
    for devices in chosen.devices:
        with torch.device("meta"), torch.no_grad():
            codecs = build_codecs(schema)
            joint = build_joint(schema, codecs)
        plan = schema.backbone.default_plan()
        rows, tokens = rows_per_step(joint, schema.training, plan, False, devices)
        if devices == chosen.devices[0]:
            cells, voxels = math.prod(codecs["T1w"].code_shape), math.prod(chosen.shape)
            weights = sum(weight.numel() for weight in joint.parameters())
            mask = cells // codecs["T1w"].code_shape[0]
            codes = chosen.scans * VERSIONS * (4 * ARRAYS * cells + mask)
            print(f"codes {'x'.join(map(str, codecs['T1w'].code_shape))}, {weights / 1e6:.1f} million weights")
            print(f"disk: images {4 * chosen.scans * voxels / GB:.0f} GB, codes {codes / GB:.0f} GB")
            epoch = math.ceil(chosen.scans / (rows * devices))
            print(f"steps per pass over {chosen.scans:,} scans: {epoch}")
        memory = device_memory(joint, rows, tokens)
        print(
            f"{devices} devices: {rows} rows and {tokens} of tokens alone per device and step, step "
            f"{memory.step / GB:.1f} GB, weights with optimiser {memory.weights / GB:.2f} GB, baseline "
            f"{memory.baseline / GB:.2f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main()
