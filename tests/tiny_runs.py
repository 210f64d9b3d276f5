"""Whole runs for tests, and what is looked at in them."""

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
    """Every event of a training in single precision on the processor."""
    options = {"precision": "32-true", "accelerator": "cpu", **options}
    return list(training(load_schema(schema), output, **options))


def leave(schema, output, stage, done=1):
    """A training as ``train`` does it, stopped when a stage has come so far."""
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
    """The command line as a file: processes of a training are started from the file that started the first."""
    script = folder / "command.py"
    script.write_text("from metavoxel.cli import main\n\nif __name__ == '__main__':\n    main()\n")
    root = str(Path(metavoxel.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": root, "COLUMNS": "200"}
    return [sys.executable, str(script)], environment


def refused(error, schema, output, **options):
    with pytest.raises(error) as caught:
        train(schema, output, **options)
    return str(caught.value)
