import numpy as np
import pytest
from heads import inside, moved, pose

from metavoxel.images.image import Image
from metavoxel.preparation.bias import corrected, log_bias
from metavoxel.preparation.checks import is_stripped
from metavoxel.preparation.extractors import AbstractExtractor, NoExtraction
from metavoxel.preparation.head import prepare_head, resampled


class _Tilting(AbstractExtractor):
    """Finds the brain of upright heads alone: of a tilted one, a slab."""

    version, upright = "test", True

    def __init__(self):
        self.calls = 0

    def extract(self, image):
        self.calls += 1
        mask = image.data > 50
        if self.calls == 1:
            mask[:, :, : mask.shape[2] // 2] = False
        return mask


def test_a_prepared_head_lies_on_the_template(brain, template, points):
    rigid = pose(20, 30)
    result = prepare_head(moved(brain, rigid), NoExtraction(), template, spacing=4.0, bias=False)
    assert result.rigid.displacement(rigid, points).max() < 1.0
    assert result.image.grid.spacing == (4.0, 4.0, 4.0)
    assert result.quality.correlation > 0.9 and result.quality.angle == pytest.approx(0, abs=1)
    assert (result.image.data[result.mask.data == 0] == 0).all() and not result.notes


@pytest.mark.slow
def test_a_bias_field_is_removed(brain):
    x = np.linspace(-1, 1, brain.data.shape[0], dtype=np.float32)[:, None, None]
    field = np.exp(0.4 * x)
    mask = inside(brain)
    biased = Image(brain.data * field, brain.grid)
    # The anatomy has a smooth part of its own, which is removed from both.
    flat, left = (np.log(corrected(image, log_bias(image, mask)).data[mask]) for image in (brain, biased))
    assert (left - flat).std() < 0.3 * np.log(np.broadcast_to(field, mask.shape)[mask]).std()


def test_a_follow_up_of_the_same_head_lies_on_its_baseline(brain, template, points):
    first = prepare_head(brain, NoExtraction(), template, spacing=2.0, bias=False)
    rigid = pose(12, 15, 7)
    second = prepare_head(moved(brain, rigid), NoExtraction(), template, spacing=2.0, bias=False, baseline=first)
    assert second.rigid.displacement(rigid.after(first.rigid), points).max() < 0.5


def test_the_stored_map_gives_the_image_bit_for_bit(brain, template):
    head = moved(brain, pose(9, 5, 8))
    result = prepare_head(head, NoExtraction(), template, spacing=4.0)
    image, mask = resampled(corrected(head, result.log_field), result.native_mask.data > 0, result.rigid, 4.0)
    assert np.array_equal(image.data, result.image.data) and np.array_equal(mask.data, result.mask.data)


def test_a_tilted_head_is_extracted_again_upright(brain, template):
    tilted = pose(30, 0, 9)
    turned, _ = moved(brain, tilted).onto(brain.grid)
    extractor = _Tilting()
    result = prepare_head(turned, extractor, template, spacing=4.0, bias=False)
    assert extractor.calls == 2 and "upright" in result.notes[0]


def test_no_brain_is_an_error(brain, template):
    with pytest.raises(ValueError, match="no voxel is above 0"):
        prepare_head(Image(0 * brain.data, brain.grid), NoExtraction(), template, spacing=4.0)


def test_a_stripped_head_is_recognised(brain):
    assert is_stripped(brain)
    assert not is_stripped(Image(brain.data + 1, brain.grid))
