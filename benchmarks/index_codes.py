"""Time and memory of a training step on a sequence of classes: codes held as indices against one-hot codes.

python benchmarks/index_codes.py [--classes 1200 8192 32000] [--tokens 256] [--rows 8] [--steps 5] [--rounds 3]

One sequence under kernel `masked` (plugin metavoxel-absorbing) and one number, in a transformer of width 128 and depth
2. A step is that of training without the optimiser: a batch from cached codes, noise, network, loss, gradients. Every
measurement is a process of its own with one thread. Printed are medians over rounds, with minimum and maximum, of the
seconds a step (the median of the process) and of the peak of anonymous memory above that of the process with model and
codes; of the seconds in which the kernel draws a reverse step (of 64) from given class probabilities; the stored code
of a row; and the loss of the first step, which is the same in both forms.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

MEASURE = """
import json, sys, threading, time
import torch
from metavoxel_absorbing import MaskedKernel
from metavoxel.learning.latent_cache import LatentCache, index_dtype
from metavoxel.learning.objective import corrupt, loss_sums, ratio
from metavoxel.learning.time_sampling import evidence_times
from metavoxel.network.joint import JointModel
from metavoxel.parts.adapters.sequence import SequenceAdapterSpec
from metavoxel.parts.backbones.transformer import TransformerSpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.indices import one_hot
from metavoxel.parts.variables.base import Parts
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.rng import Rng
from metavoxel.schema.schema import Variable

form, classes, tokens, rows, steps = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(1)
torch.set_flush_denormal(True)

class Indices(OneHotSpec):
    indexed = True

def anonymous():
    lines = open("/proc/self/status", encoding="utf-8").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

spec = ContinuousSpec()
codec = (Indices if form == "index" else OneHotSpec)(categories=classes)
variables = {
    "sequence": Variable(spec, Parts(codec, MaskedKernel(), SequenceAdapterSpec())),
    "number": Variable(spec, spec.parts()),
}
torch.manual_seed(0)
shapes = {"sequence": (classes, tokens), "number": (1,)}
joint = JointModel(variables, shapes, TransformerSpec(width=128, depth=2, dropout=0.0), shared_time=False)
rng = Rng.for_rows(rows, "codes")
index = (rng.uniform((rows, 1, tokens), dtype=torch.float64) * classes).long()
number = rng.normal((rows, 1, 1))
stored = index.to(index_dtype(classes)) if form == "index" else one_hot(index[:, 0], classes)
present = torch.ones(rows, dtype=torch.bool)
caches = {"sequence": LatentCache(present, stored[:, None]), "number": LatentCache(present, number)}
everyone = torch.arange(rows)

def step(place):
    rng = Rng.for_rows(rows, "step", place)
    times = evidence_times(present[:, None].expand(-1, 2), rng.fork("times"))
    corrupted = corrupt(joint, caches, everyone, times, rng, device=torch.device("cpu"))
    predictions = joint(corrupted.states, corrupted.times, corrupted.observed)
    loss = sum(ratio(*sums) for sums in loss_sums(joint, predictions, corrupted).values())
    loss.backward()
    joint.zero_grad()
    return float(loss)

def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

before, peak, over = anonymous(), [0.0], threading.Event()

def watch():
    while not over.wait(0.005):
        peak[0] = max(peak[0], anonymous())

thread = threading.Thread(target=watch)
thread.start()
loss = step(0)
seconds = sorted(timed(lambda: step(place)) for place in range(1, steps + 1))
over.set()
thread.join()

kernel, t = joint.kernels["sequence"], torch.full((rows,), 0.5, dtype=torch.float64)
state = kernel.noise(caches["sequence"].first(everyone), t, rng=rng).state
x0_hat = kernel.denoise(torch.randn(rows, classes, tokens), state, t)

def draw():
    kernel.transition(x0_hat, state, t, t - 1 / 64, eta=1.0).sample(rng)

draws = sorted(timed(draw) for _ in range(steps))
row = stored[0].numel() * stored.element_size()
medians = {"seconds": seconds[steps // 2], "draw": draws[steps // 2]}
print(json.dumps({**medians, "memory": peak[0] - before, "row": row, "loss": loss}))
"""


def measured(form: str, classes: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the figures of one process."""
    root = Path(__file__).parents[1]
    paths = [str(root), str(root / "plugins" / "metavoxel-absorbing")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    sizes = map(str, (classes, arguments.tokens, arguments.rows, arguments.steps))
    command = [sys.executable, "-c", MEASURE, form, *sizes]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def spread(found: list[dict[str, float]], key: str, digits: int) -> str:
    """Format the median, minimum and maximum of a figure."""
    values = [one[key] for one in found]
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    """Print a row of a table for every number of classes and form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[1200, 8192, 32000])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    titles = ["classes", "codes", "seconds a step", "memory of a step, MiB", "seconds a draw", "a stored code", "loss"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for classes in arguments.classes:
        found: dict[str, list[dict[str, float]]] = {"one-hot": [], "index": []}
        for _ in range(arguments.rounds):
            for form, figures in found.items():
                figures.append(measured(form, classes, arguments))
        for form, figures in found.items():
            print(
                f"| {classes:,} | {form} | {spread(figures, 'seconds', 2)} | {spread(figures, 'memory', 0)} | "
                f"{spread(figures, 'draw', 3)} | {figures[0]['row']:,.0f} bytes | {figures[0]['loss']:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
