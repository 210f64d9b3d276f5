"""Factors of the correlations between variables, chosen by cross-validation."""

import pytest
import torch

from metavoxel.network.baseline.gaussian import GaussianBaseline
from metavoxel.network.baseline.shrinkage import FOLDS, MANY_FEATURES, MOST_GROUPS, chosen_shrinkage, groups_of
from metavoxel.rng import Rng

IMAGE, ROWS = 20, 48


def drawn(rows, unrelated, *key):
    """An age that depends on four of twenty features of an image, and features of an unrelated image."""
    normal = Rng.for_rows(rows, *key).normal((rows, IMAGE + 1 + unrelated), dtype=torch.float64)
    age = 0.9 * normal[:, :4].sum(1) / 2 + 0.43 * normal[:, IMAGE]
    return torch.cat([normal[:, :IMAGE], age[:, None], normal[:, IMAGE + 1 :]], 1)


def sizes_of(unrelated):
    return {"image": IMAGE, "age": 1, **({"map": unrelated} if unrelated else {})}


def error_of_age(unrelated, key):
    """Root mean squared error of the regression of age on all others, fitted to few rows."""
    rows, test = drawn(ROWS, unrelated, "train", key), drawn(2000, unrelated, "test")
    baseline = GaussianBaseline(sizes_of(unrelated))
    baseline.fit(rows, torch.ones_like(rows).bool(), [], torch.arange(ROWS) % FOLDS)
    precision = baseline.precision.double()[IMAGE]
    residual = test @ precision / precision[IMAGE]
    return float(residual.square().mean().sqrt())


@pytest.mark.parametrize("key", range(3))
def test_an_unrelated_image_hardly_impairs_predictions(key):
    """One factor for all pairs would be 0, and the age predicted by its mean, of error 1."""
    alone, beside = error_of_age(0, key), error_of_age(IMAGE, key)
    assert alone < 0.7 and beside < alone + 0.1


def test_an_unrelated_image_is_uncorrelated_and_a_related_one_is_not():
    rows = drawn(ROWS, IMAGE, "train", 0)
    fold = torch.arange(ROWS) % FOLDS
    kept = chosen_shrinkage([rows] * FOLDS, torch.ones_like(rows).bool(), fold, sizes_of(IMAGE), None).kept
    assert bool((kept == kept.T).all()) and float(kept[:IMAGE, :IMAGE].min()) == 1
    assert float(kept[0, IMAGE]) > 0.5 and float(kept[0, -1]) < 0.3


def test_gaps_are_scored_too():
    """Few complete rows: each row by the features that it has."""
    rows = drawn(ROWS, IMAGE, "train", 0)
    seen = torch.ones_like(rows).bool()
    seen[::2, IMAGE + 1 :] = False
    rows = torch.where(seen, rows, 0.0)
    kept = chosen_shrinkage([rows] * FOLDS, seen, torch.arange(ROWS) % FOLDS, sizes_of(IMAGE), None).kept
    assert float(kept[0, IMAGE]) > 0.5 and float(kept[0, -1]) < 0.3


def test_small_variables_are_one_group():
    group = groups_of({"age": 1, "scan": MANY_FEATURES + 1, "site": MANY_FEATURES, "map": 2 * MANY_FEATURES})
    scan, other = group[1], group[-1]
    assert group[0] == 0 == group[-2 * MANY_FEATURES - 1] and len({int(scan), int(other), 0}) == 3
    many = groups_of({f"scan {number}": MANY_FEATURES + 1 + number for number in range(2 * MOST_GROUPS)})
    assert len(many.unique()) == MOST_GROUPS and int(many[0]) == 0 != int(many[-1])


def test_all_correlations_may_be_kept():
    rows = drawn(ROWS, 0, "train", 0)
    fold = torch.arange(ROWS) % FOLDS
    found = chosen_shrinkage([rows] * FOLDS, torch.ones_like(rows).bool(), fold, sizes_of(0), None, shrunk=False)
    assert bool((found.kept == 1).all())
