import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from metavoxel.testing.strategies import masks_for, one_hot_codes, real_codes, schemas, time_pairs_for, times_for


@given(code=real_codes())
def test_real_codes(code):
    assert code.ndim >= 2 and code.dtype == torch.float32
    assert code.isfinite().all()


@given(code=one_hot_codes())
def test_one_hot_codes(code):
    assert code.shape[1] >= 2
    assert ((code == 0) | (code == 1)).all()
    assert torch.equal(code.sum(1), torch.ones_like(code.sum(1)))


@given(data=st.data())
def test_times_and_masks_fit_their_code(data):
    code = data.draw(real_codes())
    cells = (len(code), 1, *code.shape[2:])
    t, s = data.draw(time_pairs_for(code))
    assert t.dtype == torch.float64 and t.shape == s.shape
    assert tuple(t.shape) in ((len(code),), cells)
    assert (s >= 0).all() and (s <= t).all() and (t <= 1).all()
    mask = data.draw(masks_for(code))
    assert mask.dtype == torch.bool and tuple(mask.shape) == cells


def test_extremes_are_generated():
    code = torch.zeros(2, 3, 2)
    for extreme in (0.0, 1e-8, 1.0):
        find(times_for(code), lambda t, extreme=extreme: bool((t == extreme).any()))
    find(times_for(code), lambda t: t.ndim == 1)
    find(times_for(code), lambda t: t.ndim == 3)
    find(one_hot_codes(), lambda code: code.shape[:2] == (1, 2))
    find(masks_for(code), lambda mask: bool(mask.any()) and not bool(mask.all()))


def has(raw, section, setting, value):
    """Return whether a section, or a variable in it, has this value of a setting."""
    given = raw.get(section, {})
    several = given.values() if section == "variables" else [given]
    return any(one.get(setting) == value for one in several)


@pytest.mark.parametrize(
    "condition",
    [
        lambda raw: has(raw, "variables", "type", "image") and has(raw, "variables", "type", "categorical"),
        lambda raw: has(raw, "variables", "adapter", "painted"),
        lambda raw: has(raw, "backbone", "type", "mlp") and has(raw, "variables", "transform", "log"),
        lambda raw: has(raw, "diffusion", "times", "shared"),
        lambda raw: "factors" in raw.get("diffusion", {}),
        lambda raw: "questions" in raw.get("training", {}),
    ],
    ids=["image and label", "painted", "numbers without images", "shared times", "factors", "questions"],
)
def test_schemas_have_many_forms(condition):
    find(schemas(), condition, settings=settings(max_examples=500, phases=[Phase.generate]))
