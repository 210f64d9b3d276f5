"""Checkpoints by the clock: how many are kept, and what a damaged one costs."""

import pytest
import torch

from metavoxel.errors import RunWarning
from metavoxel.runs.checkpoints import Checkpoints


def write(checkpoints, *steps):
    for step in steps:
        checkpoints.write(step, {"a": torch.full((3,), float(step))}, {"step": step})


def steps_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_are_kept(tmp_path):
    (tmp_path / "best.safetensors").write_bytes(b"")
    checkpoints = Checkpoints(tmp_path, "joint")
    assert checkpoints.newest() is None and Checkpoints(tmp_path / "none", "joint").newest() is None
    write(Checkpoints(tmp_path, "codec-joint"), 7)
    write(checkpoints, 0, 3, 20, 100)
    assert steps_in(tmp_path) == [
        "best.safetensors", "codec-joint-00000007.safetensors", "joint-00000020.safetensors",
        "joint-00000100.safetensors",
    ]  # fmt: skip
    tensors, numbers = checkpoints.newest()
    assert tensors["a"].tolist() == [100] * 3 and numbers == {"step": 100}
    checkpoints.clear()
    assert steps_in(tmp_path) == ["best.safetensors", "codec-joint-00000007.safetensors"]


def test_a_damaged_newest_one_is_reported_and_the_one_before_used(tmp_path):
    checkpoints = Checkpoints(tmp_path, "joint")
    write(checkpoints, 3, 20)
    newest = tmp_path / "joint-00000020.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    with pytest.warns(RunWarning, match=r"joint-00000020.*differs from its checksum; that of step 3 is used"):
        assert checkpoints.newest()[1] == {"step": 3}
    write(checkpoints, 10)
    assert steps_in(tmp_path) == ["joint-00000003.safetensors", "joint-00000010.safetensors"], "the damaged one is gone"
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.warns(RunWarning) as caught:
        assert checkpoints.newest() is None
    assert "joint starts from its beginning" in str(caught[-1].message)


def test_one_is_due_by_the_clock(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("metavoxel.runs.checkpoints.time.monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, "joint", minutes=10)
    assert not checkpoints.due
    now[0] += 601
    assert checkpoints.due
    write(checkpoints, 1)
    assert not checkpoints.due
    now[0] += 599
    assert not checkpoints.due
