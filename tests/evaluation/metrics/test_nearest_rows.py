"""Distances to the nearest training row, and detection of copies."""

import numpy as np
import pytest

from metavoxel.evaluation.metrics.nearest_rows import nearest_rows, nearness
from metavoxel.evaluation.rows import Rows

CLASSES = {"c": ["x", "y", "z"]}


def rows(values, subjects=None):
    values = np.asarray(values, float)
    return Rows(values, ["a", "b", "c"], CLASSES, subjects or [f"s{row}" for row in range(len(values))])


def sample(seed, count=200):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=count)
    return np.stack([a, np.exp(a + rng.normal(size=count)), rng.integers(0, 3, count)], 1)


def expected_distance(row, other, training):
    """Root mean square over shared variables, with numbers as quantiles of the training rows."""
    parts = []
    for place in range(3):
        if np.isnan(row[place]) or np.isnan(other[place]):
            continue
        if place == 2:
            parts.append(2.0 * (row[place] != other[place]))
        else:
            reference = training[:, place][np.isfinite(training[:, place])]
            below = [((reference < x).mean() + (reference <= x).mean()) / 2 for x in (row[place], other[place])]
            parts.append(12 * (below[0] - below[1]) ** 2)
    return np.sqrt(np.mean(parts)) if parts else np.inf


def test_distances_combine_numbers_and_categories_and_ignore_missing_cells():
    some, training = sample(0, 12), sample(1, 30)
    some[::3, 0], training[::4, 1], training[::5, 2] = np.nan, np.nan, np.nan
    found = nearest_rows(rows(some), rows(training))
    for row, distance, ratio in zip(some, found.distance, found.ratio, strict=True):
        every = sorted(expected_distance(row, other, training) for other in training)
        assert distance == pytest.approx(every[0], abs=1e-6)
        assert every[1] == 0 or ratio == pytest.approx(every[0] / every[1], abs=1e-5)


def test_the_second_nearest_is_another_subject():
    """Two visits of one subject are near each other; a copy of one is near that subject only."""
    training = np.array([[0.0, 1, 0], [0.1, 1, 0], [5, 5, 1], [6, 6, 2]])
    found = nearest_rows(rows([[0.0, 1, 0]]), rows(training, ["s0", "s0", "s1", "s2"]))
    assert found.distance == pytest.approx([0], abs=1e-6) and found.ratio == pytest.approx([0], abs=1e-6)


def test_rows_of_the_same_distribution_are_not_copies():
    training, held, drawn = (rows(sample(seed)) for seed in range(3))
    found = nearness(nearest_rows(drawn, training), nearest_rows(held, training))
    assert abs(found.nearer - 0.5) < 3 * found.error
    assert found.closest < 0.12 and found.alike < 0.12 and found.same == 0


def test_copies_with_little_noise_are_detected():
    training, held = rows(sample(0)), rows(sample(1))
    copies = sample(0)
    copies[:, :2] *= 1 + 1e-3 * np.random.default_rng(2).normal(size=(200, 2))
    found = nearness(nearest_rows(rows(copies), training), nearest_rows(held, training))
    assert found.nearer > 0.95 and found.alike > 0.5
    exact = nearness(nearest_rows(training, training), nearest_rows(held, training))
    assert exact.same == 1 and exact.held_out_same == 0


def test_the_probability_to_be_nearer_matches_its_definition():
    training, held, drawn = (rows(sample(seed, 40)) for seed in range(3))
    a, b = nearest_rows(drawn, training), nearest_rows(held, training)
    apart = a.distance[:, None] - b.distance[None]
    assert nearness(a, b).nearer == pytest.approx((apart < 0).mean() + (apart == 0).mean() / 2)
