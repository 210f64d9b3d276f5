"""Training time from a run's metrics."""

import json

import pytest

from metavoxel.runs.metrics import training_seconds
from metavoxel.runs.run import RunFolder


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([1.0, 2.5, 4.0], 4.0), ([1.0, 4.0, 0.5, 2.0], 6.0), ([None, None], None), ([None, 3.0], 3.0), ([], None)],
    ids=["one process", "resumed", "without times", "times from some line on", "empty"],
)
def test_training_time_is_summed_over_processes(tmp_path, seconds, expected):
    folder = RunFolder(tmp_path)
    lines = [{"stage": "joint", "step": 1} | ({} if now is None else {"seconds": now}) for now in seconds]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert training_seconds(folder) == expected


def test_training_time_without_metrics(tmp_path):
    assert training_seconds(RunFolder(tmp_path)) is None
