"""A model of simulated rows is trained once, and never mistaken for one of other settings."""

import pytest
import torch

from benchmarks.table_run import trained
from metavoxel.rng import Rng

SETTINGS = {"backbone": {"type": "mlp", "width": 16, "depth": 1}, "training": {"steps": 2, "batch_size": 16}}


def test_other_settings_are_refused_where_a_model_is(tmp_path):
    columns = {name: Rng.for_rows(1, name).normal((1, 40))[0] for name in ("dose", "level")}

    def run(settings):
        return trained(tmp_path / "run", columns, categories={}, settings=settings, validation=10)

    first, again = run(SETTINGS), run(SETTINGS)
    assert all(
        torch.equal(a, b) for a, b in zip(first.model.joint.parameters(), again.model.joint.parameters(), strict=True)
    )
    with pytest.raises(SystemExit, match=r"run was trained by other settings \(.*run\.yaml\)\. Remove it"):
        run({**SETTINGS, "training": {"steps": 3, "batch_size": 16}})
