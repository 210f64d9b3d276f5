import numpy as np
import pytest

from metavoxel.errors import CohortError
from metavoxel.images.image import Image
from metavoxel.preparation.extractors import extractor_names, make_extractor


def test_names():
    assert {"deepbet", "given", "none"} <= set(extractor_names())


def test_an_unknown_name_lists_what_exists():
    with pytest.raises(CohortError, match="Did you mean 'deepbet'"):
        make_extractor("deepbat")


def test_none_takes_what_is_not_background(brain):
    assert np.array_equal(make_extractor("none").extract(brain), brain.data > 0)


@pytest.mark.slow
def test_deepbet_finds_the_brain_in_a_head(brain):
    pytest.importorskip("deepbet", reason="needs metavoxel[prepare]")
    mask = make_extractor("deepbet").extract(brain)
    inside = brain.data > 0
    assert 2 * (mask & inside).sum() / (mask.sum() + inside.sum()) > 0.9


@pytest.mark.slow
def test_deepbet_on_an_empty_image_is_an_error(brain):
    pytest.importorskip("deepbet", reason="needs metavoxel[prepare]")
    with pytest.raises(ValueError, match="found no brain"):
        make_extractor("deepbet").extract(Image(0 * brain.data, brain.grid))
