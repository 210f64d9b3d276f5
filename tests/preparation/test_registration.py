import numpy as np
import pytest
from heads import moved, pose

from metavoxel.images.image import Image
from metavoxel.preparation.registration import correlation_of, register
from metavoxel.preparation.starts import all_rotations


def _error(brain, template, points, rigid, **options):
    head = moved(brain, rigid)
    found = register(head, head.data > 0, template.fixed, **options)
    return found.rigid.displacement(rigid, points).max(), found.correlation


@pytest.mark.parametrize(("angle", "seed"), [(0, 0), (30, 1), (60, 2)])
def test_a_moved_brain_is_found(brain, template, points, angle, seed):
    error, correlation = _error(brain, template, points, pose(angle, 60, seed))
    assert error < 1.0 and correlation > 0.95


@pytest.mark.slow
def test_any_orientation_is_found_from_all_starts(brain, template, points):
    error, _ = _error(brain, template, points, pose(150, 60, 3), rotations=all_rotations())
    assert error < 1.0


def test_a_cut_field_of_view_does_not_pull(brain, template, points):
    rigid = pose(20, 10, 4)
    lower = brain.grid.affine.copy()
    lower[:3, 3] += lower[:3, 2] * 8
    cut = type(brain.grid)((*brain.grid.shape[:2], brain.grid.shape[2] - 8), lower)
    head = moved(Image(np.ascontiguousarray(brain.data[:, :, 8:]), cut), rigid)
    found = register(head, head.data > 0, template.fixed)
    assert found.rigid.displacement(rigid, points).max() < 1.5


def test_the_same_image_gives_the_same_bits(brain, template):
    head = moved(brain, pose(25, 10, 5))
    first, second = (register(head, head.data > 0, template.fixed).rigid.matrix for _ in range(2))
    assert np.array_equal(first, second)


def test_correlation_of_a_constant_is_zero():
    assert correlation_of(np.ones(5), np.arange(5.0)) == 0
    assert correlation_of(np.arange(5.0), 3 - 2 * np.arange(5.0)) == pytest.approx(-1)
