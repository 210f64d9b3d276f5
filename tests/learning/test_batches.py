"""Training batches are a function of seed and step, independent of how many are made in one call."""

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


def make_batches(tmp_path, **options):
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
    caches = {
        "age": LatentCache(present, rng.normal((ROWS, 1, 1)), None, None, None),
        "sex": LatentCache(torch.ones(ROWS, dtype=torch.bool), sex[:, None], None, None, None),
    }
    settings = {
        "places": torch.arange(SIZE), "total": SIZE, "seed": 0, "device": torch.device("cpu"), "partial": True,
    }  # fmt: skip
    return Batches(joint, caches, torch.arange(ROWS), evidence_times, **{**settings, **options})


def assert_same(first, second):
    assert torch.equal(first.rows, second.rows)
    for field, other in zip(first.corrupted, second.corrupted, strict=True):
        assert field.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in field.items())


def test_blocks_of_batches_equal_single_batches(tmp_path, monkeypatch):
    blocks = make_batches(tmp_path)
    monkeypatch.setattr(module, "STEPS_PER_BLOCK", 1)
    single = make_batches(tmp_path)
    for step in (0, 1, 15, 16, 40):
        assert_same(blocks(step), single(step))


def test_a_batch_does_not_depend_on_previous_calls(tmp_path):
    used, fresh = make_batches(tmp_path), make_batches(tmp_path)
    for step in range(19):
        used(step)
    assert_same(used(19), fresh(19))
    assert_same(used(3), fresh(3))


@pytest.mark.parametrize("step", [0, 3, 17])
def test_processes_share_the_batch_of_one(tmp_path, step):
    """The same rows, times and noise, so that the number of devices does not change the training."""
    whole = make_batches(tmp_path, places=torch.arange(2 * SIZE), total=2 * SIZE)(step)
    assert torch.equal(whole.rows, shuffled(torch.arange(ROWS), step * 2 * SIZE, 2 * SIZE, 0))
    for places in (torch.arange(SIZE), torch.arange(SIZE, 2 * SIZE), torch.tensor([0, 1, 2, 6, 7, 9])):
        part = make_batches(tmp_path, places=places, total=2 * SIZE)(step)
        assert torch.equal(part.rows, whole.rows[places])
        for field, other in zip(part.corrupted, whole.corrupted, strict=True):
            assert all(torch.equal(tensor, other[name][places]) for name, tensor in field.items())


@pytest.mark.parametrize("first", [0, 5, ROWS - 2, ROWS, 3 * ROWS - 1])
@pytest.mark.parametrize("count", [1, 4, 2 * ROWS + 3])
def test_every_epoch_is_a_permutation_of_the_rows(first, count):
    rows = torch.arange(ROWS) + 100
    sequence = shuffled(rows, 0, 6 * ROWS, seed=3)
    assert torch.equal(shuffled(rows, first, count, seed=3), sequence[first : first + count])
    epochs = sequence.reshape(6, ROWS)
    assert all(torch.equal(epoch.sort().values, rows) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(shuffled(rows, 0, ROWS, seed=4), epochs[0])
