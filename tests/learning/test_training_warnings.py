"""Warnings about a finished training."""

from metavoxel.learning.training_warnings import training_warnings


def test_what_is_suspicious_is_named():
    validation = {"age": {"loss": 0.4}, "noise": {"loss": 1.001}}
    lines = [*training_warnings({"skipped_steps": 2, "loss_spikes": 1, "validation": validation})]
    assert len(lines) == 3 and "2 training steps were skipped" in lines[0] and "1 training steps had a loss" in lines[1]
    assert lines[2].startswith("noise: no better than its prior")
    assert not [*training_warnings({"skipped_steps": 0, "loss_spikes": 0, "validation": {"age": {"loss": 0.9}}})]
    assert not [*training_warnings({})]
