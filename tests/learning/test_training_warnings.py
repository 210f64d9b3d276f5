"""Warnings about a training, while it runs and at its end."""

import pytest
from tiny_cohorts import TABLE, write_schema
from tiny_runs import train

from metavoxel.errors import RunWarning
from metavoxel.learning import training_warnings as module
from metavoxel.learning.training_warnings import training_warnings, variable_problems
from metavoxel.runs.metrics import read_metrics
from metavoxel.runs.run import RunFolder


def test_a_network_that_overfits_is_named():
    fine = {"loss": 0.5, "network": 0.52, "training": 0.4, "network_weight": 0.5}
    small = {"loss": 0.02, "network": 0.04, "training": 0.01, "network_weight": 1.0}
    over = {"loss": 0.5, "network": 0.9, "training": 0.4, "network_weight": 0.2}
    (problem,) = variable_problems({"age": fine, "score": small, "volume": over})
    assert problem.where == "volume" and "0.9 on held-out rows and 0.4 on training rows" in problem.what
    assert "weight 0.2" in problem.what


def test_what_is_suspicious_is_named():
    validation = {"age": {"loss": 0.4}, "noise": {"loss": 1.001}}
    lines = [*training_warnings({"skipped_steps": 2, "loss_spikes": 1, "validation": validation})]
    assert len(lines) == 3 and "2 training steps were skipped" in lines[0] and "1 training steps had a loss" in lines[1]
    assert lines[2].startswith("noise: no better than its prior")
    assert not [*training_warnings({"skipped_steps": 0, "loss_spikes": 0, "validation": {"age": {"loss": 0.9}}})]
    assert not [*training_warnings({})]


def test_what_is_suspicious_is_noticed_while_it_trains(study, monkeypatch):
    """From half of the steps on, once a variable; losses on training rows are in the metrics and the record."""
    monkeypatch.setattr(module, "NO_BETTER", 0.0)
    schema = write_schema(study, TABLE, training={"steps": 40, "validate_every": 10})
    with pytest.warns(RunWarning, match="validation at step") as caught:
        train(schema, study / "run")
    lines = [str(one.message) for one in caught if "validation at step" in str(one.message)]
    assert all(line.startswith("validation at step 20: ") and "no better than its prior" in line for line in lines)
    record = RunFolder(study / "run").read_record()
    assert len(lines) == len(record["validation"]) > 1
    assert all(0 < one["training"] < 3 and 0 < one["network"] < 3 for one in record["validation"].values())
    metrics = read_metrics(RunFolder(study / "run"))
    assert {f"network_training/{name}" for name in record["validation"]} <= metrics[-1].keys()
