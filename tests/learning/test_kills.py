"""Training that is killed by SIGKILL at any moment, resumed, and equal to one that was not, bit for bit.

A fork server imports the package once; every life of a training is a process of its own, which a signal ends.
"""

import json
import os
import random
import signal
import time
from multiprocessing import get_context

import pytest
from tiny_cohorts import IMAGES, write_images, write_schema
from tiny_runs import assert_same_weights

MOST_LIVES = 30


def live(schema, output, writes, seconds):
    """Train until the end, a number of replaced or flushed files, or a time, whichever is first; the latter two kill."""
    import warnings

    import torch

    from metavoxel.learning.training import training
    from metavoxel.runs.run import RunFolder
    from metavoxel.schema import load_schema
    from metavoxel.storage import row_store

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    row_store.SECONDS_BETWEEN_COMMITS = 0.0
    count, originals = [0], {name: getattr(os, name) for name in ("replace", "fsync")}

    def counted(name):
        def call(*arguments):
            result = originals[name](*arguments)
            count[0] += 1
            if count[0] == writes:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in originals:
        setattr(os, name, counted(name))
    if seconds is not None:
        signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, seconds)
    resume = RunFolder(output).record.exists()
    for _ in training(
        load_schema(schema), output, resume=resume, precision="32-true", accelerator="cpu", checkpoint_minutes=0
    ):
        pass
    (output / "writes").write_text(str(count[0]))


@pytest.fixture(scope="module")
def context():
    found = get_context("forkserver")
    found.set_forkserver_preload(["tiny_runs", "tiny_cohorts", "metavoxel.learning.training"])
    return found


@pytest.fixture(scope="module")
def whole(context, tmp_path_factory):
    """Provide a schema with a learned codec, its training without interruption, the number of its writes, its time."""
    folder = tmp_path_factory.mktemp("kills")
    write_images(folder)
    schema = write_schema(folder, IMAGES)
    process = context.Process(target=live, args=(schema, folder / "whole", -1, None))
    process.start()
    process.join()
    assert process.exitcode == 0
    return schema, folder / "whole", int((folder / "whole" / "writes").read_text())


def survive(context, schema, output, kills):
    """Train with these kills, each (writes, seconds) in a life of its own, until one life reaches the end."""
    for life in range(MOST_LIVES):
        writes, seconds = kills[life] if life < len(kills) else (-1, None)
        process = context.Process(target=live, args=(schema, output, writes, seconds))
        process.start()
        process.join(300)
        assert process.exitcode in (0, -signal.SIGKILL), f"life {life} ended with {process.exitcode}"
        if process.exitcode == 0:
            return life
    raise AssertionError("the training never ends")


def check(whole, output):
    _, reference, _ = whole
    assert_same_weights(reference, output)
    first, second = (json.loads((run / "run.json").read_text()) for run in (reference, output))
    del first["schema"], second["schema"]  # its paths start at the run's folder
    assert first == second
    assert not [*output.rglob("*.partial"), *output.rglob(".tmp*")]


@pytest.mark.parametrize(
    "share", [pytest.param(0.02, marks=pytest.mark.slow), 0.4, pytest.param(0.9, marks=pytest.mark.slow)]
)
def test_a_killed_training_ends_with_the_same_weights(context, whole, tmp_path, share):
    """Killed at a share of the files that it writes, and again soon after it resumes."""
    schema, _, writes = whole
    kills = [(max(1, int(share * writes)), None), (5, None)]
    assert survive(context, schema, tmp_path / "run", kills) == 2
    check(whole, tmp_path / "run")


@pytest.fixture(scope="module")
def seconds(context, whole, tmp_path_factory):
    """Time of a training without interruption."""
    schema, _, _ = whole
    start = time.monotonic()
    process = context.Process(target=live, args=(schema, tmp_path_factory.mktemp("timed") / "run", -1, None))
    process.start()
    process.join()
    return time.monotonic() - start


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_sixty_kills(context, whole, seconds, tmp_path, part):
    """At random writes or times, over all stages, some in the life that resumes, some twice there; in four parts."""
    schema, _, writes = whole
    draw, killed, number = random.Random(part), 0, 0
    while killed < 15:
        kills = [
            (draw.randint(1, writes), None) if draw.random() < 0.6 else (-1, draw.uniform(0.05, seconds))
            for _ in range(draw.choice((1, 1, 2, 3)))
        ]
        killed += survive(context, schema, tmp_path / f"run{number}", kills)
        check(whole, tmp_path / f"run{number}")
        number += 1
