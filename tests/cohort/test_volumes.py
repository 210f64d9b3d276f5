import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from metavoxel.cohort import volumes as volumes_module
from metavoxel.cohort.volumes import TemporaryVolumes, UnreadableCells, load_volumes, temporary_volumes
from metavoxel.errors import CohortError, RunWarning
from metavoxel.images import file_cache

CELLS = [str(number) for number in range(40)]


def _parse(cell):
    return torch.full((1, 2, 3), float(cell))


def _refuse(cell):
    raise ValueError(f"{cell} is gone")


def _refuse_some(cell):
    if cell in ("3", "30"):
        raise ValueError(f"{cell} is bad")
    return _parse(cell)


def _volumes(parse, path):
    if path is None:
        return temporary_volumes(parse, CELLS, (1, 2, 3))
    return load_volumes(parse, CELLS, (1, 2, 3), path=path)


@pytest.mark.parametrize("kept", [True, False])
def test_values_are_in_order(tmp_path, kept):
    path = tmp_path / "new" / "T1w" if kept else None
    volumes = _volumes(_parse, path).read(np.arange(40))
    assert volumes.shape == (40, 1, 2, 3)
    np.testing.assert_array_equal(volumes[:, 0, 0, 0], np.arange(40))
    np.testing.assert_array_equal(_volumes(_parse, path).read(np.array([7, 3, 7]))[:, 0, 0, 0], [7, 3, 7])
    if path:
        assert sorted(file.name for file in path.iterdir()) == ["lock", "rows.json", "values.bin", "values.crc"]


def test_a_kept_file_is_not_parsed_again(tmp_path):
    first = load_volumes(_parse, CELLS, (1, 2, 3), path=tmp_path / "a")
    second = load_volumes(_refuse_some, CELLS, (1, 2, 3), path=tmp_path / "a")
    np.testing.assert_array_equal(first.read(np.arange(40)), second.read(np.arange(40)))


def test_a_volume_with_a_flipped_bit_is_parsed_again(tmp_path):
    load_volumes(_parse, CELLS, (1, 2, 3), path=tmp_path / "a")
    content = np.memmap(tmp_path / "a" / "values.bin", np.uint8, "r+")
    content[5 * 24 + 3] ^= 64
    content.flush()
    volumes = load_volumes(_parse, CELLS, (1, 2, 3), path=tmp_path / "a")
    np.testing.assert_array_equal(volumes.read(np.array([4, 6]))[:, 0, 0, 0], [4, 6])
    with pytest.warns(RunWarning, match=r"differs from its checksum; 5 is read again \(1 such images\)"):
        np.testing.assert_array_equal(volumes.read(np.array([6, 5]))[:, 0, 1, 2], [6, 5])
    volumes = load_volumes(_refuse, CELLS, (1, 2, 3), path=tmp_path / "a")
    with pytest.warns(RunWarning), pytest.raises(CohortError, match="5: 5 is gone"):
        volumes.read(np.array([5]))


@pytest.mark.parametrize("file", ["rows.json", "values.bin"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"nonsense", None])
def test_a_damaged_array_is_rewritten(tmp_path, file, content):
    path = tmp_path / "a"
    load_volumes(_parse, CELLS, (1, 2, 3), path=path)
    (path / file).write_bytes((path / file).read_bytes()[:-40] if content is None else content)
    assert load_volumes(_parse, CELLS, (1, 2, 3), path=path).read(np.array([39]))[0, 0, 0, 0] == 39


@pytest.mark.parametrize("kept", [True, False])
def test_every_unreadable_cell_is_reported_and_nothing_is_kept(tmp_path, kept):
    with pytest.raises(UnreadableCells) as caught:
        _volumes(_refuse_some, tmp_path / "a" if kept else None)
    assert caught.value.reasons == {3: "3 is bad", 30: "30 is bad"}
    assert not list(tmp_path.iterdir())


def test_no_cells_give_no_values(tmp_path):
    volumes = load_volumes(_parse, [], (1, 2, 3), path=tmp_path / "a")
    assert volumes.read(np.arange(0)).shape == (0, 1, 2, 3)


def test_unchanged_files_are_parsed_when_they_are_read(tmp_path, monkeypatch):
    """Others are parsed at once, and so are all with other settings."""
    monkeypatch.setenv("METAVOXEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_cache, "FEWEST", 3)
    files, parsed = [tmp_path / f"{number}.nii" for number in range(4)], []
    for number, file in enumerate(files):
        file.write_text(str(number))

    def parse(cell):
        text = Path(cell).read_text()
        parsed.append(text)
        if text == "bad":
            raise ValueError("bad")
        return torch.full((1,), float(text))

    def check(settings):
        parsed.clear()
        volumes = temporary_volumes(parse, list(map(str, files)), (1,), known=settings)
        return volumes, sorted(parsed)

    assert check("a")[1] == ["0", "1", "2", "3"]
    volumes, again = check("a")
    assert again == []
    np.testing.assert_array_equal(volumes.read(np.array([2, 1]))[:, 0], [2, 1])
    volumes.read(np.array([1]))
    assert sorted(parsed) == ["1", "2"]
    files[2].write_text("7")
    os.utime(files[2], ns=(1, 1))
    assert check("a")[1] == ["7"]
    assert check("b")[1] == ["0", "1", "3", "7"]
    files[3].write_text("bad")
    for _ in range(2):
        with pytest.raises(UnreadableCells) as caught:
            check("b")
        assert caught.value.reasons == {3: "bad"} and parsed == ["bad"]
    volumes = TemporaryVolumes(parse, list(map(str, files)), (1,))
    with pytest.raises(CohortError, match="3.nii: bad"):
        volumes.read(np.array([1, 3]))


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
    np.testing.assert_array_equal(volumes.read(np.arange(4000))[:, 0, 1, 2], np.arange(4000))
    assert min(parsed) > 90, "what the killed process had read is read again"


def test_a_check_keeps_no_more_volumes_than_fit(tmp_path, monkeypatch):
    """All are parsed; the third is parsed again when it is read, and then kept."""
    monkeypatch.setenv("METAVOXEL_CACHE", str(tmp_path))
    monkeypatch.setattr(volumes_module, "MOST_BYTES", 8)
    parsed = []

    def parse(cell):
        parsed.append(cell)
        return torch.full((1,), float(cell))

    kept = temporary_volumes(parse, ["0", "1", "2"], (1,), known="settings")
    assert sorted(parsed) == ["0", "1", "2"]
    for _ in range(2):
        np.testing.assert_array_equal(kept.read(np.array([0, 1, 2]))[:, 0], [0, 1, 2])
    assert sorted(parsed) == ["0", "1", "2", "2"]
