"""The batch of a step is a function of the seed and its number: never of which batches are made at once."""

import pytest
import torch

from metavoxel.learning import batches as module
from metavoxel.learning.batches import Batches, shuffled
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.time_sampling import evidence_times
from metavoxel.network.joint import JointModel
from metavoxel.rng import Rng
from metavoxel.schema import parse_schema

ROWS, SIZE = 21, 6


def made(tmp_path, **options):
    schema = parse_schema(
        {
            "cohort": {"table": "people.csv"},
            "variables": {"age": {"type": "continuous"}, "sex": {"type": "categorical", "categories": ["F", "M"]}},
            "backbone": {"type": "mlp", "width": 8},
        },
        folder=tmp_path,
    )
    joint = JointModel(schema.variables, {"age": (1,), "sex": (2,)}, schema.backbone, shared_time=False)
    rng = Rng.for_rows(ROWS, "cohort")
    sex = torch.nn.functional.one_hot((rng.uniform((ROWS,)) < 0.5).long(), 2).float()
    present = rng.uniform((ROWS,)) < 0.8
    banks = {
        "age": LatentCache(present, rng.normal((ROWS, 1, 1)), None, None, None),
        "sex": LatentCache(torch.ones(ROWS, dtype=torch.bool), sex[:, None], None, None, None),
    }
    settings = {"size": SIZE, "seed": 0, "rank": 0, "processes": 1, "device": torch.device("cpu"), "partial": True}
    return Batches(joint, banks, torch.arange(ROWS), evidence_times, **{**settings, **options})


def assert_same(first, other):
    assert torch.equal(first.rows, other.rows)
    for parts, others in zip(first.corrupted, other.corrupted, strict=True):
        assert parts.keys() == others.keys()
        assert all(torch.equal(part, others[name]) for name, part in parts.items())


def test_batches_made_at_once_are_those_made_alone(tmp_path, monkeypatch):
    together = made(tmp_path)
    monkeypatch.setattr(module, "STEPS_AT_ONCE", 1)
    alone = made(tmp_path)
    for step in (0, 1, 15, 16, 40):
        assert_same(together(step), alone(step))


def test_a_batch_is_the_same_whatever_was_asked_before(tmp_path):
    walked, fresh = made(tmp_path), made(tmp_path)
    for step in range(19):
        walked(step)
    assert_same(walked(19), fresh(19))
    assert_same(walked(3), fresh(3))


def test_processes_share_a_walk_and_no_noise(tmp_path):
    first, second = (made(tmp_path, rank=rank, processes=2)(0) for rank in (0, 1))
    whole = shuffled(torch.arange(ROWS), 0, 2 * SIZE, 0)
    assert torch.equal(torch.cat([first.rows, second.rows]), whole)
    assert not torch.equal(first.corrupted.times["age"], second.corrupted.times["age"])


@pytest.mark.parametrize("first", [0, 5, ROWS - 2, ROWS, 3 * ROWS - 1])
@pytest.mark.parametrize("count", [1, 4, 2 * ROWS + 3])
def test_a_walk_goes_through_all_rows_time_and_again(first, count):
    rows = torch.arange(ROWS) + 100
    walk = shuffled(rows, 0, 6 * ROWS, seed=3)
    assert torch.equal(shuffled(rows, first, count, seed=3), walk[first : first + count])
    epochs = walk.reshape(6, ROWS)
    assert all(torch.equal(epoch.sort().values, rows) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(shuffled(rows, 0, ROWS, seed=4), epochs[0])
