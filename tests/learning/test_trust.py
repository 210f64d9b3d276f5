"""How much of what the network adds to the normal law is believed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_cohorts import TABLE, write_schema, write_table
from tiny_runs import train

from metavoxel.learning.joint import Parabola

NUMBERS = st.floats(-5, 5)


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.lists(NUMBERS, min_size=8, max_size=8))
def test_the_least_is_that_of_a_squared_error(errors, corrections):
    """Of errors less a share of some corrections: no share of a fine grid does better, and the value is the error."""
    missing = torch.tensor(errors, dtype=torch.float64)
    added = torch.tensor(corrections, dtype=torch.float64)[: len(missing)]

    def error(share):
        return float((missing - share * added).square().mean())

    parabola = Parabola.through(error(0), error(0.5), error(1))
    share, least = parabola.least, parabola.at(parabola.least)
    assert 0 <= share <= 1
    assert least == pytest.approx(error(share), abs=1e-6)
    assert least <= min(error(step / 50) for step in range(51)) + 1e-6


@pytest.mark.parametrize(("whole", "share"), [(0.5, 1.0), (2.0, 0.0), (1.0, 1.0)])
def test_a_straight_line_is_least_at_an_end(whole, share):
    assert Parabola.through(1.0, (1.0 + whole) / 2, whole).least == share


def test_the_weights_of_a_run_hold_what_validation_chose(tmp_path):
    """Between none and all of it for every variable, in the weights that are loaded; training goes on with all of it."""
    write_table(tmp_path)
    train(write_schema(tmp_path, TABLE), tmp_path / "run")
    chosen = {k: float(v) for k, v in load_file(tmp_path / "run" / "model.safetensors").items() if k.endswith(".trust")}
    assert len(chosen) == len(TABLE["variables"])
    assert all(0 <= trust <= 1 for trust in chosen.values())
    state = load_file(tmp_path / "run" / "checkpoints" / "joint.safetensors")
    kept = [float(value) for key, value in state.items() if key.endswith(".trust")]
    assert kept and set(kept) == {1.0}
