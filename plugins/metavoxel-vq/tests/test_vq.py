"""A codebook of moving averages: its steps, the vectors that it finds, and images coded by it."""

import pytest
import torch
from metavoxel_vq import VQSpec
from metavoxel_vq.codebook import DECAY, LEAST, VectorQuantiser

from metavoxel.errors import CohortWarning
from metavoxel.rng import Rng

CENTERS = torch.tensor([[3.0, 0], [-3, 0], [0, 3], [0, -3], [4, 4], [-4, -4]])


def clusters(rows, cells, seed):
    """Cells around one of six centers, with a standard deviation of .3."""
    rng = Rng.for_rows(rows, "clusters", seed)
    index = (rng.uniform((rows, cells)) * len(CENTERS)).long()
    return CENTERS[index].movedim(-1, 1) + 0.3 * rng.normal((rows, 2, cells))


def updated(classes, steps, first=0):
    torch.manual_seed(first)
    quantiser = VectorQuantiser(classes, 2)
    for step in range(steps):
        quantiser.update(clusters(8, 16, first + step), Rng.for_rows(8, "update", step))
    return quantiser


def test_a_step_is_a_moving_average():
    quantiser, y = updated(4, 1), clusters(8, 16, 99)
    counts, sums, index = quantiser.counts.clone(), quantiser.sums.clone(), quantiser.index(y).flatten()
    quantiser.update(y, Rng.for_rows(8, "next"))
    cells = y.movedim(1, -1).flatten(0, 1)
    for k in range(4):
        own = cells[index == k]
        count, total = DECAY * counts[k] + (1 - DECAY) * len(own), DECAY * sums[k] + (1 - DECAY) * own.sum(0)
        assert count > LEAST * len(cells) / 4
        torch.testing.assert_close(quantiser.counts[k], count, rtol=1e-5, atol=0)
        torch.testing.assert_close(quantiser.vectors[k], total / count, rtol=1e-5, atol=1e-5)


def test_every_cluster_has_a_vector():
    """With twice as many vectors as clusters, each center is near the vectors of its cells."""
    quantiser = updated(12, 300)
    distance = torch.cdist(CENTERS, quantiser.codebook()).amin(1)
    assert float(distance.max()) < 0.3
    y = clusters(8, 16, 1234)
    error = (quantiser(y) - y).square().sum(1).mean()
    assert float(error) < 2 * 0.3**2


def test_unused_vectors_start_again_at_cells():
    quantiser = updated(6, 20)
    quantiser.vectors[2:] = 100.0
    quantiser.sums[2:] = 100.0 * quantiser.counts[2:, None]
    for step in range(400):
        quantiser.update(clusters(8, 16, step), Rng.for_rows(8, "again", step))
    assert len(quantiser.index(clusters(8, 64, 77)).unique()) == 6 and float(quantiser.vectors.abs().max()) < 6


def test_a_batch_that_is_not_finite_changes_nothing():
    quantiser, y = updated(4, 3), clusters(8, 16, 5)
    before = {name: tensor.clone() for name, tensor in quantiser.state_dict().items()}
    y[0, 0, 0] = torch.nan
    quantiser.update(y, Rng.for_rows(8, "nan"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantiser.state_dict().items())


def test_gradients_pass_the_quantisation_and_classes_are_of_the_nearest_vectors():
    quantiser, y = updated(6, 50), clusters(8, 16, 3).requires_grad_()
    levels = quantiser(y)
    levels.sum().backward()
    assert torch.equal(y.grad, torch.ones_like(y))
    index = quantiser.index(levels)
    nearest = torch.cdist(y.detach().movedim(1, -1), quantiser.codebook()[None].expand(8, -1, -1)).argmin(-1)
    assert torch.equal(index, nearest) and torch.equal(quantiser.index(y), nearest)
    torch.testing.assert_close(levels.detach(), quantiser.codebook()[index].movedim(-1, 1))


def test_the_error_of_a_trained_codec_is_a_small_part_of_the_variance(discs, trained):
    codec = trained(VQSpec(downsampling=4, width=32, blocks=1, codes=64, numbers=4), discs(64))
    before = codec.quantiser.vectors.clone()
    other = discs(32, seed=1)
    codec.losses(other, rng=Rng.for_rows(32, "evaluation"))
    assert torch.equal(codec.quantiser.vectors, before), "only training changes the codebook"
    assert float((codec.decode(codec.encode(other).mean) - other).square().mean() / other.var()) < 0.15


def test_few_used_codes_are_a_warning():
    codec = VQSpec(downsampling=4, codes=64).build((1, 16, 16))
    with pytest.warns(CohortWarning, match="codec vq: 1 of 64 classes are used; use fewer 'codes', or more 'steps'"):
        codec.fit(lambda: [torch.zeros(200, 1, 16, 16)])
