"""Similarity of images, and distances to training subjects."""

import numpy as np
import pytest
import torch

from metavoxel.evaluation.metrics.similarity import Copying, ms_ssim, nearest, pairs, psnr, scales, ssim, window
from metavoxel.evaluation.quality import copying


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 40, 36, generator=torch.Generator().manual_seed(0))


def test_psnr_uses_voxels_inside_the_mask_only(image):
    inside = torch.zeros_like(image, dtype=torch.bool)
    inside[:, :20] = True
    wrong = image.clone()
    wrong[:, 20:] = 0
    wrong[:, :20] = (image[:, :20] - 0.1).clamp_min(0)
    error = ((wrong - image)[inside] ** 2).mean()
    assert psnr(wrong, image, inside) == pytest.approx(float(-10 * torch.log10(error)))
    assert psnr(image, image, inside) == pytest.approx(120)


def test_similarity_falls_with_noise(image):
    noisy = [
        image + level * torch.randn(image.shape, generator=torch.Generator().manual_seed(1)) for level in (0.05, 0.3)
    ]
    for measure in (ssim, ms_ssim):
        assert measure(image, image) == pytest.approx(1, abs=1e-4)
        assert 1 > measure(noisy[0], image) > measure(noisy[1], image)


@pytest.mark.parametrize("shape", [(5, 9, 30), (6, 6), (7, 8), (30, 30), (48, 56, 48), (300, 300)])
def test_similarity_is_defined_for_images_of_any_size(shape):
    image = torch.rand(1, *(min(size, 60) for size in shape))
    assert ms_ssim(image, image) == pytest.approx(1, abs=1e-3) and window(shape) % 2 == 1
    assert 1 <= scales(shape) <= 5


def test_pairs_are_distinct():
    assert sorted(pairs(4, 100)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert len(set(pairs(30, 60))) == 60 and pairs(30, 60) == pairs(30, 60)


def test_a_copy_of_a_training_subject_is_detected(image):
    draw = torch.Generator().manual_seed(2)
    training = [torch.rand(1, 40, 36, generator=draw) for _ in range(5)]
    copy, other = training[3] + 0.001, torch.rand(1, 40, 36, generator=draw)
    found = nearest([copy, other], iter(training), torch.ones_like(image, dtype=torch.bool))
    assert found.distance[0] == pytest.approx(0.001, rel=1e-2) and found.ratio[0] < 0.01
    expected = min(float(((other - one) ** 2).mean().sqrt()) for one in training)
    assert found.distance[1] == pytest.approx(expected) and found.ratio[1] > 0.9
    assert np.isfinite(found.distance).all()


def test_copies_are_distinguished_from_smooth_scans():
    """A copy is near one training subject; a smooth scan is near all of them."""
    rng = np.random.default_rng(0)
    held_out = Copying(rng.normal(0.3, 0.02, 200), rng.uniform(0.9, 1, 200))
    same = copying(Copying(rng.normal(0.3, 0.02, 200), rng.uniform(0.9, 1, 200)), held_out)
    assert same["nearer"] < 0.15 and same["alike"] < 0.15
    smooth = copying(Copying(rng.normal(0.2, 0.02, 200), rng.uniform(0.97, 1, 200)), held_out)
    assert smooth["nearer"] > 0.9 and smooth["alike"] == 0
    copies = copying(Copying(rng.normal(0.05, 0.01, 200), rng.uniform(0.1, 0.3, 200)), held_out)
    assert copies["nearer"] == copies["alike"] == 1 and copies["median"] < same["median"]
