import numpy as np
import pytest
from heads import inside

from metavoxel.errors import CohortError
from metavoxel.images.image import Image
from metavoxel.preparation.extractors import extractor_names, make_extractor


def test_names():
    assert {"deepbet", "given", "none"} <= set(extractor_names())


def test_an_unknown_name_lists_what_exists():
    with pytest.raises(CohortError, match="Did you mean 'deepbet'"):
        make_extractor("deepbat")


def test_none_takes_what_is_not_background(brain):
    ringing = np.where(brain.data == 0, np.random.default_rng(0).normal(0, 5, brain.data.shape), brain.data)
    mask = make_extractor("none").extract(Image(ringing.astype(np.float32), brain.grid))
    difference = mask ^ inside(brain)
    assert difference.sum() < 0.05 * mask.sum() and not mask[0].any()


@pytest.mark.slow
def test_deepbet_finds_the_brain_in_a_head(brain):
    pytest.importorskip("deepbet", reason="needs metavoxel[prepare]")
    mask = make_extractor("deepbet").extract(brain)
    assert 2 * (mask & inside(brain)).sum() / (mask.sum() + inside(brain).sum()) > 0.9


@pytest.mark.slow
def test_deepbet_on_an_empty_image_is_an_error(brain):
    pytest.importorskip("deepbet", reason="needs metavoxel[prepare]")
    with pytest.raises(ValueError, match="found no brain"):
        make_extractor("deepbet").extract(Image(0 * brain.data, brain.grid))
