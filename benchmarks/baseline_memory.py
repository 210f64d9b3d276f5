"""Memory and time of fitting the Gaussian baseline to latents on disk, by number of scans, beside another checkout.

python benchmarks/baseline_memory.py --rows 100 200 400 [--grid 24 28 24] [--channels 8] [--against CHECKOUT]

Latents of 20 components and noise are written to a file, mapped into memory, and fitted with an age, each number of
rows in a process of its own with one thread. Printed are the latents on disk, the peak of anonymous memory above that
before the fit (pages of a mapped file are not counted, as the system takes them back), and the processor's seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FIT = """
import json, sys, threading, time
import torch
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.schema import parse_schema
from pathlib import Path

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

path, rows, shape = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
raw = {
    "cohort": {"table": "table.csv"},
    "variables": {
        "scan": {"type": "image", "codec": "identity", "shape": shape[1:], "adapter": {"type": "grid_summary"}},
        "age": {"type": "continuous"},
    },
    "backbone": {"type": "unet", "channels": [8], "attention_levels": [], "head_channels": 8},
}
if shape[0] > 1:
    raw["variables"]["scan"]["codec"] = {"type": "local_pca", "downsampling": 2, "channels": shape[0]}
    raw["variables"]["scan"]["shape"] = [2 * size for size in shape[1:]]
schema = parse_schema(raw, folder=Path())
joint = build_joint(schema, build_codecs(schema))
size = rows
for length in shape:
    size *= length
scan = torch.from_file(path, shared=False, size=size, dtype=torch.float32).reshape(rows, 1, *shape)
age = scan[:, 0].flatten(1)[:, :1].clone()
present = dict.fromkeys(("scan", "age"), torch.ones(rows, dtype=torch.bool))
try:
    from metavoxel.parts.features.rows import Rows
    codes = {"scan": Rows(scan[:, 0], torch.arange(rows)), "age": Rows(age, torch.arange(rows))}
except ImportError:
    codes = {"scan": scan[torch.arange(rows), 0], "age": age}
before = anonymous() if "Rows" in dir() else anonymous() - size * 4 / 2**20
peak, over = [0.0], threading.Event()

def watch():
    while not over.wait(0.02):
        peak[0] = max(peak[0], anonymous())

thread = threading.Thread(target=watch)
thread.start()
start = time.process_time()
joint.baseline.fit(codes, present)
seconds = time.process_time() - start
over.set()
thread.join()
print(json.dumps({"disk": round(size * 4 / 2**20), "anonymous": round(peak[0] - before), "seconds": round(seconds, 1)}))
"""


def write(path: Path, rows: int, shape: list[int]) -> None:
    """Write latents row by row."""
    cells = int(np.prod(shape))
    patterns = np.random.default_rng(0).standard_normal((20, cells), dtype=np.float32)
    with path.open("wb") as file:
        for row in range(rows):
            rng = np.random.default_rng(row + 1)
            scores = rng.standard_normal(20, dtype=np.float32) * 0.9 ** np.arange(20, dtype=np.float32)
            file.write((scores @ patterns + 0.3 * rng.standard_normal(cells, dtype=np.float32)).tobytes())


def main() -> None:
    """Print a line for every number of rows and checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--grid", type=int, nargs=3, default=[24, 28, 24])
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--against", type=Path)
    arguments = parser.parse_args()
    shape = [arguments.channels, *arguments.grid]
    checkouts = [Path(__file__).parents[1], *([arguments.against] if arguments.against else [])]
    with tempfile.TemporaryDirectory() as folder:
        for rows in arguments.rows:
            path = Path(folder) / "latents.bin"
            write(path, rows, shape)
            for checkout in checkouts:
                environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
                command = [sys.executable, "-c", FIT, str(path), str(rows), json.dumps(shape)]
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout)
                print(
                    f"{rows} rows, {checkout.name}: latents {found['disk']} MiB, peak of the fit "
                    f"{found['anonymous']} MiB, {found['seconds']} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
