import numpy as np
import pytest
import torch
from heads import moved, pose

from metavoxel.parts.variables.column import Column
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.preparation.resemblance import figures_of, spread_of, unlike
from metavoxel.preparation.template import space_grid

GRID = space_grid(8.0)
SPEC = ImageSpec(place="world", shape=GRID.shape, affine=GRID.affine.tolist())


def _value(image):
    placed, _ = image.onto(GRID)
    return torch.from_numpy(np.where(placed.data > 50, placed.data, 0) / 1500)[None].float()


@pytest.fixture(scope="module")
def spread(brain):
    draw, value = np.random.default_rng(0), _value(brain)
    values = torch.stack([value * torch.from_numpy(draw.normal(1, 0.03, value.shape)).float() for _ in range(10)])
    column = Column(torch.ones(10, dtype=torch.bool), ["x"] * 10, values)
    return spread_of(SPEC, column, list(range(10)))


def test_a_scan_like_the_cohort_has_no_reason(brain, spread):
    assert set(spread) == {"correlation", "symmetry", "volume"}
    assert list(unlike(figures_of(SPEC, _value(brain)), spread)) == []


def test_a_tilted_head_and_a_head_with_its_skull_do_not_look_like_it(brain, spread):
    tilted = list(unlike(figures_of(SPEC, _value(moved(brain, pose(25, 0)))), spread))
    assert any(reason.startswith("correlation") for reason in tilted)
    around = _value(brain) + 0.1
    assert any("volume above 0" in reason for reason in unlike(figures_of(SPEC, around), spread))


def test_few_scans_and_images_without_a_place_have_no_spread(brain):
    column = Column(torch.ones(10, dtype=torch.bool), ["x"] * 10, torch.stack([_value(brain)] * 10))
    assert spread_of(SPEC, column, [0, 1]) == {}
    assert spread_of(SPEC.model_copy(update={"place": "box"}), column, list(range(10))) == {}
