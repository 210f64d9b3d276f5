import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from metavoxel.cohort.volumes import UnreadableCells, load_volumes

CELLS = [str(number) for number in range(40)]


def _parse(cell):
    return torch.full((1, 2, 3), float(cell))


def _refuse_some(cell):
    if cell in ("3", "30"):
        raise ValueError(f"{cell} is bad")
    return _parse(cell)


@pytest.mark.parametrize("kept", [True, False])
def test_values_are_in_order(tmp_path, kept):
    path = tmp_path / "new" / "T1w.npy" if kept else None
    volumes = load_volumes(_parse, CELLS, (1, 2, 3), path=path)
    assert volumes.shape == (40, 1, 2, 3)
    np.testing.assert_array_equal(volumes[:, 0, 0, 0], np.arange(40))
    if path:
        assert [file.name for file in path.parent.iterdir()] == ["T1w.npy"]


def test_a_kept_file_is_not_parsed_again(tmp_path):
    first = load_volumes(_parse, CELLS, (1, 2, 3), path=tmp_path / "a.npy")
    second = load_volumes(_refuse_some, CELLS, (1, 2, 3), path=tmp_path / "a.npy")
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"nonsense"])
def test_a_damaged_file_is_rewritten(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    assert load_volumes(_parse, CELLS, (1, 2, 3), path=tmp_path / "a.npy")[7, 0, 0, 0] == 7


def test_a_truncated_file_is_rewritten(tmp_path):
    path = tmp_path / "a.npy"
    load_volumes(_parse, CELLS, (1, 2, 3), path=path)
    path.write_bytes(path.read_bytes()[:-40])
    assert load_volumes(_parse, CELLS, (1, 2, 3), path=path)[39, 0, 0, 0] == 39


@pytest.mark.parametrize("kept", [True, False])
def test_every_unreadable_cell_is_reported_and_nothing_is_kept(tmp_path, kept):
    with pytest.raises(UnreadableCells) as caught:
        load_volumes(_refuse_some, CELLS, (1, 2, 3), path=tmp_path / "a.npy" if kept else None)
    assert caught.value.reasons == {3: "3 is bad", 30: "30 is bad"}
    assert not list(tmp_path.iterdir())


def test_no_cells_give_no_values(tmp_path):
    assert load_volumes(_parse, [], (1, 2, 3), path=tmp_path / "a.npy").shape == (0, 1, 2, 3)


INTERRUPTED = """
import signal, sys, time, torch
from pathlib import Path
from metavoxel.cohort.volumes import load_volumes

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell start with it ignored

def parse(cell):
    print("parsing", flush=True)
    time.sleep(0.05)
    return torch.ones(1, 2, 3)

load_volumes(parse, list(map(str, range(4000))), (1, 2, 3), path=Path(sys.argv[1]) / "a.npy")
"""


def test_an_interrupt_leaves_no_partial_file(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout.readline().startswith(b"parsing")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode != 0
    assert not list(tmp_path.iterdir())
