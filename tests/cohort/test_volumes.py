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
    path = tmp_path / "new" / "T1w" if kept else None
    volumes = load_volumes(_parse, CELLS, (1, 2, 3), path=path)
    assert volumes.shape == (40, 1, 2, 3)
    np.testing.assert_array_equal(volumes[:, 0, 0, 0], np.arange(40))
    if path:
        assert sorted(file.name for file in path.iterdir()) == ["lock", "rows.json", "values.bin"]


def test_a_kept_file_is_not_parsed_again(tmp_path):
    first = load_volumes(_parse, CELLS, (1, 2, 3), path=tmp_path / "a")
    second = load_volumes(_refuse_some, CELLS, (1, 2, 3), path=tmp_path / "a")
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("file", ["rows.json", "values.bin"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"nonsense", None])
def test_a_damaged_array_is_rewritten(tmp_path, file, content):
    path = tmp_path / "a"
    load_volumes(_parse, CELLS, (1, 2, 3), path=path)
    (path / file).write_bytes((path / file).read_bytes()[:-40] if content is None else content)
    assert load_volumes(_parse, CELLS, (1, 2, 3), path=path)[39, 0, 0, 0] == 39


@pytest.mark.parametrize("kept", [True, False])
def test_every_unreadable_cell_is_reported_and_nothing_is_kept(tmp_path, kept):
    with pytest.raises(UnreadableCells) as caught:
        load_volumes(_refuse_some, CELLS, (1, 2, 3), path=tmp_path / "a" if kept else None)
    assert caught.value.reasons == {3: "3 is bad", 30: "30 is bad"}
    assert not list(tmp_path.iterdir())


def test_no_cells_give_no_values(tmp_path):
    assert load_volumes(_parse, [], (1, 2, 3), path=tmp_path / "a").shape == (0, 1, 2, 3)


KILLED = """
import sys, time, torch
from pathlib import Path
from metavoxel.cohort.volumes import load_volumes
from metavoxel.storage import row_store

row_store.SECONDS_BETWEEN_COMMITS = 0.1

def parse(cell):
    if int(cell) == 100:
        print("parsing", flush=True)
    if int(cell) >= 100:
        time.sleep(0.02)
    return torch.full((1, 2, 3), float(cell))

load_volumes(parse, list(map(str, range(4000))), (1, 2, 3), path=Path(sys.argv[1]) / "a")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_continued(tmp_path, number):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout.readline().startswith(b"parsing")
        time.sleep(0.5)
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == -number
    parsed = []

    def parse(cell):
        parsed.append(int(cell))
        return torch.full((1, 2, 3), float(cell))

    volumes = load_volumes(parse, list(map(str, range(4000))), (1, 2, 3), path=tmp_path / "a")
    np.testing.assert_array_equal(volumes[:, 0, 1, 2], np.arange(4000))
    assert min(parsed) > 90, "what the killed process had read is read again"
