"""The reader against the generating factors, on pictures of every size."""

import numpy as np
import pytest

from metavoxel.cohort.phantoms.reports import read_picture
from metavoxel.cohort.phantoms.reports.drawing import draw_picture
from metavoxel.cohort.phantoms.reports.heads import draw_head
from metavoxel.cohort.phantoms.subjects import generator


def pictures(pixels, noise, heads=300):
    for number in range(1, heads + 1):
        head = draw_head(1, number)
        yield head, draw_picture(head, pixels, noise, generator(1, number, "picture"))


@pytest.mark.parametrize(("pixels", "least"), [(64, 0.93), (48, 0.9), (32, 0.8)])
def test_the_facts_are_read(pixels, least):
    right = [(found := read_picture(image)) and found.facts == head.facts for head, image in pictures(pixels, 0.03)]
    assert np.mean(np.array(right, bool)) > least


def test_a_lesion_is_read_apart_from_the_ventricles():
    """Errors of facts are ventricles near the limit of a grade; a dark lesion at the rim makes a head look smaller."""
    for head, image in pictures(64, 0.03):
        found = read_picture(image)
        assert found.facts.lesion == head.lesion
        assert abs(found.ventricle - head.ventricle) < 0.03 and abs(found.head - head.head) < 0.03


def test_without_a_head_nothing_is_read():
    assert read_picture(np.zeros((64, 64))) is None
    assert read_picture(np.full((64, 64), 200)) is None
    read_picture(255 * np.random.default_rng(0).random((64, 64)))
