"""Features of times."""

import torch

from metavoxel.parts.adapters.embedding import (
    TIME_FEATURES,
    row_time,
    time_features,
)


def test_the_bounds_have_indicators():
    """t = 0 (evidence) and t = 1 (unknown) each have a feature that is 1 there and 0 at any other time."""
    times = torch.tensor([0.0, 1e-12, 0.5, 1 - 1e-12, 1.0], dtype=torch.float64)
    features = time_features(times)
    assert features.shape == (5, TIME_FEATURES) and features.dtype == torch.float32
    indicators = [column.tolist() for column in features.T if set(column.tolist()) == {0.0, 1.0}]
    assert sorted(indicators) == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]


def test_features_are_bounded_and_distinguish_times():
    features = time_features(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert features.abs().max() <= 1
    assert torch.pdist(features).min() > 1e-3


def test_times_of_a_grid():
    times = torch.rand(2, 3, dtype=torch.float64)
    assert torch.equal(time_features(times)[1, 2], time_features(times[1:2, 2])[0])


def test_the_time_of_a_row_is_that_of_its_latest_cell():
    cells = torch.tensor([[[0.0, 0.4, 0.2]], [[0.0, 0.0, 0.0]]])
    assert torch.equal(row_time(cells), torch.tensor([0.4, 0.0]))
    assert torch.equal(row_time(cells[:, 0, 0]), torch.zeros(2))


def test_features_are_a_function_of_each_time_alone():
    times = torch.tensor([0.1, 0.9, 1.0])
    torch.testing.assert_close(time_features(times)[1:2], time_features(times[1:2]))
    assert time_features(times).shape == (3, TIME_FEATURES)
