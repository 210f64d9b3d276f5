import metavoxel_circular
import pytest
import torch
from metavoxel_circular import CircularSpec

from metavoxel.inference.summaries import draw_cells
from metavoxel.testing import parametrize_checks, plugin_checks

HOURS = CircularSpec(period=24)


@parametrize_checks(plugin_checks(metavoxel_circular))
def test_conformance(check):
    check.run()


def test_the_mean_of_23_and_1_is_midnight():
    codec = HOURS.parts().codec.build(())
    codes = codec.encode(torch.tensor([23.0, 1.0])).mean
    of_codes = float(codec.decode(codes.mean(0, keepdim=True)))
    (of_draws,) = draw_cells("bedtime", HOURS, codec, [codes[:1], codes[1:]])
    for hour in (of_codes, of_draws["bedtime"]):
        assert min(hour, 24 - hour) < 1e-3
    assert of_draws["bedtime_sd"] == pytest.approx(2**0.5, abs=1e-3)


def test_the_median_is_robust_to_an_outlier():
    draws = torch.tensor([23.0, 23.5, 0.5, 1.0, 6.0])
    assert float(HOURS.center(draws, "median")) == pytest.approx(0.5)


@pytest.mark.parametrize(("cell", "hour"), [("7:30", 7.5), ("24", 0.0), ("-1", 23.0), ("1.5", 1.5)])
def test_cells_are_numbers_or_clock_times(cell, hour):
    assert float(HOURS.parse(cell)) == pytest.approx(hour)
