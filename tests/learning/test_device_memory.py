"""The forecast of a training step's memory against a measurement of this process."""

import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from metavoxel.learning.batches import Batches
from metavoxel.learning.device_memory import device_memory
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.loop import Optimisation, Optimiser
from metavoxel.learning.objective import loss_sums, ratio
from metavoxel.learning.time_sampling import evidence_times
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.schema import parse_schema

STATUS = Path("/proc/self/status")


def anonymous():
    """Anonymous memory of this process in bytes: without files that are mapped."""
    lines = STATUS.read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def model(shape, channels):
    adapter = {"type": "grid_summary", "components": 8}
    scan = {"type": "image", "codec": "identity", "shape": shape, "adapter": adapter}
    raw = {
        "cohort": {"table": "table.csv"},
        "variables": {"scan": scan, "age": {"type": "continuous"}},
        "backbone": {"type": "unet", "channels": channels, "head_channels": 8},
    }
    schema = parse_schema(raw, folder=Path())
    return build_joint(schema, build_codecs(schema))


def peak_of_training(joint, rows, token_rows):
    """Train two steps; return the peak of memory above that before the optimiser was made."""
    total, cpu, before = rows + token_rows, torch.device("cpu"), anonymous()
    caches = {
        name: LatentCache(torch.ones(total, dtype=torch.bool), Rng.for_rows(total, name).normal((total, 1, *shape)))
        for name, shape in joint.code_shapes.items()
    }
    before += sum(cache.mean.nbytes for cache in caches.values())
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    optimiser = Optimiser(fabric, joint, Optimisation(2, 1e-3, 0.1, 1, 1.0))
    batches = Batches(
        joint, caches, torch.arange(total), partial(evidence_times, names=list(joint.kernels)),
        places=torch.arange(total), total=total, seed=0, device=cpu, partial=True,
    )  # fmt: skip

    def losses(step):
        _, noised = batches(step)
        found = optimiser.wrapped(noised.states, noised.times, noised.observed, grid_rows=rows if token_rows else None)
        return {name: ratio(*sums) for name, sums in loss_sums(joint, found, noised).items()}

    most, over = [0], threading.Event()

    def watch():
        while not over.wait(0.005):
            most[0] = max(most[0], anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        list(optimiser.run(losses))
    finally:
        over.set()
        thread.join()
    return most[0] - before


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="reads the memory of a process from /proc")
def test_the_forecast_is_within_thirty_percent_of_a_measurement():
    shape, channels, rows, token_rows = [24, 24, 20], [16, 32], 8, 8
    with torch.device("meta"):
        forecast = device_memory(model(shape, channels), rows, token_rows)
    joint = model(shape, channels)
    own = sum(tensor.nbytes for tensor in (*joint.parameters(), *joint.buffers()))
    measured = peak_of_training(joint, rows, token_rows) + own
    assert measured > 2e8, "too small against the noise of an allocator"
    assert forecast.total / measured == pytest.approx(1, abs=0.3)


def test_a_step_grows_with_its_rows_and_the_weights_do_not():
    joint = model([32, 32], [8, 16])
    weights = 4 * sum(weight.numel() for weight in joint.parameters())
    with torch.device("meta"):
        small, more, tokens = (device_memory(model([32, 32], [8, 16]), *rows) for rows in ((4, 0), (8, 0), (4, 4)))
    assert small.weights == more.weights == 5 * weights  # with gradient, two moments and moving average
    assert small.baseline == more.baseline
    assert 1.8 < more.step / small.step < 2.2
    assert small.step < tokens.step < more.step
