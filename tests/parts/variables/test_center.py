"""Point estimates from draws: arithmetic by default, overridden by variable types."""

import math

import pytest
import torch

from metavoxel.inference.summaries import draw_cells, mean_cells
from metavoxel.parts.codecs.identity import IdentitySpec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec

PLAIN = ContinuousSpec()


class Clock(ContinuousSpec):
    """Hours of the day."""

    def center(self, values, point):
        angle = values.double() * (math.tau / 24)
        return torch.atan2(angle.sin().mean(0), angle.cos().mean(0)) % math.tau * (24 / math.tau)

    def differences(self, values, center):
        return (values.double() - center + 12) % 24 - 12


@pytest.mark.parametrize(("values", "median"), [([3.0, 1.0, 8.0], 3.0), ([3.0, 1.0, 8.0, 4.0], 3.5), ([2.0], 2.0)])
def test_arithmetic_by_default(values, median):
    draws = torch.tensor(values)
    assert float(PLAIN.center(draws, "mean")) == pytest.approx(sum(values) / len(values))
    assert float(PLAIN.center(draws, "median")) == pytest.approx(median)
    of_rows = PLAIN.center(draws[:, None].expand(-1, 2) + torch.tensor([0.0, 10.0]), "median")
    assert of_rows.tolist() == pytest.approx([median, median + 10])
    assert PLAIN.differences(draws, torch.tensor(1.0).double()).tolist() == [value - 1 for value in values]


def test_center_and_differences_are_overridden():
    """The mean of 23 and 1 o'clock is midnight, at a distance of one hour."""
    codec = LinearSpec(scale="range", range=(0, 24)).build(())
    draws = [codec.encode(torch.tensor([hour])).mean for hour in (23.0, 1.0)]
    (plain,) = draw_cells("bedtime", PLAIN, codec, draws)
    (clock,) = draw_cells("bedtime", Clock(), codec, draws)
    assert plain["bedtime"] == pytest.approx(12) and plain["bedtime_sd"] == pytest.approx(22 / math.sqrt(2), rel=1e-4)
    assert min(clock["bedtime"], 24 - clock["bedtime"]) < 1e-3
    assert clock["bedtime_sd"] == pytest.approx(math.sqrt(2), rel=1e-4)


class Graded(CategoricalSpec):
    """Labels whose predicted class is always the middle one."""

    def predicted_class(self, scores):
        return torch.full((len(scores),), 1)


def test_the_predicted_class_is_overridden():
    codec = OneHotSpec(categories=3).build(())
    chances = torch.tensor([[0.5, 0.2, 0.3]])
    for spec, label in ((CategoricalSpec(categories=["a", "b", "c"]), "a"), (Graded(categories=["a", "b", "c"]), "b")):
        (cells,) = mean_cells("grade", spec, codec, chances)
        assert cells == {"grade": label, "grade_p[a]": 0.5, "grade_p[b]": 0.2, "grade_p[c]": 0.3}


class Pair(ContinuousSpec):
    """Two numbers, with one column each."""

    @property
    def data_shape(self):
        return (2,)

    def cells(self, name, value):
        return {"first": float(value[0]), "second": float(value[1])}


def test_a_type_may_have_several_columns():
    codec = IdentitySpec().build((2,))
    draws = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 6.0]])]
    assert draw_cells("pair", Pair(), codec, draws) == [{"first": 2.0, "second": 4.0}]
    assert mean_cells("pair", Pair(), codec, draws[0]) == [{"first": 1.0, "second": 2.0}]


class Limited(ContinuousSpec):
    """Numbers formatted as text below a detection limit."""

    def format(self, value):
        return "<5" if value < 5 else float(value)


def test_standard_deviations_are_numbers_for_any_format():
    codec = LinearSpec(scale="range", range=(0, 1)).build(())
    draws = [codec.encode(torch.tensor([value])).mean for value in (3.0, 4.0)]
    (cells,) = draw_cells("crp", Limited(), codec, draws)
    assert cells["crp"] == "<5" and cells["crp_sd"] == pytest.approx(0.5**0.5, rel=1e-4)
