"""Training runs for tests, and comparisons of their weights."""

import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import metavoxel
from metavoxel.learning.training import training
from metavoxel.schema import load_schema


def train(schema, output, **options):
    """Train in single precision on the CPU, and return all events."""
    options = {"precision": "32-true", "accelerator": "cpu", **options}
    return list(training(load_schema(schema), output, **options))


def leave(schema, output, stage, done=1):
    """Train as ``train`` does, and stop when a stage has reached ``done``."""
    unfinished = training(load_schema(schema), output, precision="32-true", accelerator="cpu")
    next(event for event in unfinished if event.stage == stage and event.done == done)
    unfinished.close()


def weights(run):
    files = sorted([run / "model.safetensors", *(run / "codecs").iterdir()])
    return {f"{file.name}/{name}": tensor for file in files for name, tensor in load_file(file).items()}


def assert_same_weights(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


def command(folder):
    """Write the command line as a script, from which worker processes can be started."""
    script = folder / "command.py"
    script.write_text("from metavoxel.cli import main\n\nif __name__ == '__main__':\n    main()\n")
    root = str(Path(metavoxel.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": root, "COLUMNS": "200"}
    return [sys.executable, str(script)], environment


def refused(error, schema, output, **options):
    with pytest.raises(error) as caught:
        train(schema, output, **options)
    return str(caught.value)
