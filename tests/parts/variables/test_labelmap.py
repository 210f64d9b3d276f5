"""Label maps, verified with nibabel, numpy and scipy."""

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from label_maps import LESION, affine_of, save, shells
from pydantic import ValidationError
from scipy.ndimage import affine_transform

from metavoxel.errors import CohortError
from metavoxel.images.grid import Grid
from metavoxel.parts.adapters.grid import GridSummaryAdapterSpec
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.rng import Rng

TISSUE = {"outside": 0, "fluid": 1, "grey": 2, "white": 3}


def test_parts_suit_a_latent_grid():
    codec, kernel, adapter = LabelMapSpec(labels=LESION).parts()
    assert isinstance(codec, KLVAESpec) and codec.error == "squared"
    assert isinstance(kernel, GaussianKernel)
    assert isinstance(adapter, GridSummaryAdapterSpec)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "labels"),
        ({"labels": {"lesion": 1}}, "at least 2"),
        ({"labels": {"a": 1, "b": 1}}, "2 labels have the number 1"),
        ({"labels": {"a": 0, "b": 0.5}}, "whole number"),
        ({"labels": {"a": 0, "b": True}}, "whole number"),
        ({"labels": {True: 0, "b": 1}}, "quotation marks"),
        ({"labels": {"a": 0, "b": 2**25}}, "beyond"),
        ({"labels": {"a": 0, "b": float("inf")}}, "whole number"),
        ({"labels": ["a", "a"]}, "must differ"),
        ({"labels": "lesion"}, "must differ"),
        ({"labels": LESION, "intensities": (0, 1)}, "intensities"),
        ({"labels": LESION, "path": "{a}.nii", "column": "a"}, "path and column"),
        ({"labels": LESION, "template": "mni.nii.gz", "place": "box"}, "ignores"),
    ],
)
def test_invalid_settings_are_rejected(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        LabelMapSpec(**settings)


def test_a_list_of_labels_is_numbered_from_0():
    assert LabelMapSpec(labels=["out", "in", 3]).labels == {"out": 0, "in": 1, "3": 2}


def test_two_labels_have_one_channel_and_more_have_one_each(tmp_path):
    data = shells()
    cell = save(tmp_path / "a.nii.gz", data)
    mask = save(tmp_path / "b.nii.gz", (data == 3).astype(np.uint8))
    tissue = LabelMapSpec(labels=TISSUE).resolve([cell], multiple=4)
    lesion = LabelMapSpec(labels=LESION).resolve([mask], multiple=4)
    assert tissue.data_shape == (4, 16, 16, 16) and lesion.data_shape == (1, 16, 16, 16)
    assert np.array_equal(tissue.parse(cell).numpy(), np.stack([data == label for label in range(4)]))
    assert np.array_equal(lesion.parse(mask).numpy()[0], data == 3)


def test_labels_keep_their_order_for_any_numbers(tmp_path):
    data = np.array([40, -2, 1000], np.int16)[np.random.default_rng(0).integers(0, 3, (8, 8, 8))]
    cell = save(tmp_path / "a.nii", data)
    spec = LabelMapSpec(labels={"x": 40, "y": 1000, "z": -2}).resolve([cell], multiple=4)
    assert np.array_equal(spec.parse(cell).numpy(), np.stack([data == label for label in (40, 1000, -2)]))
    assert spec.counts(spec.parse(cell)) == {
        "x": (data == 40).sum(),
        "y": (data == 1000).sum(),
        "z": (data == -2).sum(),
    }


def test_numbers_rounded_by_a_scaling_factor_are_labels(tmp_path):
    image = nibabel.Nifti1Image(shells().astype(np.float32) * np.float32(1.00001), affine_of())
    cell = str(tmp_path / "a.nii.gz")
    nibabel.save(image, cell)
    spec = LabelMapSpec(labels=TISSUE).resolve([cell], multiple=4)
    assert np.array_equal(spec.parse(cell).numpy(), np.stack([shells() == label for label in range(4)]))


def test_unknown_values_are_listed_with_their_counts(tmp_path):
    data = np.zeros((8, 8, 8), np.uint8)
    data[0, 0, :5], data[1, 1, :2], data[2, 2, 2] = 7, 3, 1
    cell = save(tmp_path / "a.nii.gz", data)
    spec = LabelMapSpec(labels=LESION).resolve([cell], multiple=4)
    with pytest.raises(
        ValueError, match="7 of 512 voxels are none of the labels: 7 .5 voxels., 3 .2 voxels."
    ) as caught:
        spec.parse(cell)
    assert cell in str(caught.value) and "background (0), lesion (1)" in str(caught.value)


def test_a_map_of_probabilities_is_rejected_with_few_of_its_values(tmp_path):
    cell = save(tmp_path / "a.nii.gz", np.random.default_rng(0).uniform(0.1, 0.9, (8, 8, 8)).astype(np.float32))
    spec = LabelMapSpec(labels=LESION).resolve([cell], multiple=4)
    with pytest.raises(ValueError, match="512 of 512 voxels .* and 504 more values.*type: image") as caught:
        spec.parse(cell)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("shape", [(8, 8, 8), (8, 8)])
def test_an_empty_mask_is_valid(tmp_path, shape):
    cell = save(tmp_path / "a.nii.gz", np.zeros(shape + (1,) * (3 - len(shape)), np.uint8))
    spec = LabelMapSpec(labels=LESION).resolve([cell], multiple=4)
    value = spec.parse(cell)
    assert value.shape == (1, *shape) and not value.any()
    assert spec.counts(value) == {"background": np.prod(shape), "lesion": 0}


def test_voxels_outside_the_field_of_view_are_background(tmp_path):
    near = save(tmp_path / "near.nii", np.full((6, 6, 6), 1, np.uint8), affine_of(origin=(0, 0, 0)))
    far = save(tmp_path / "far.nii", np.full((6, 6, 6), 2, np.uint8), affine_of(origin=(4, 0, 0)))
    spec = LabelMapSpec(labels={"outside": 5, "one": 1, "two": 2}).resolve([near, far], multiple=1)
    first, second = (spec.indices(spec.parse(cell)).numpy() for cell in (near, far))
    assert first.shape == (8, 6, 6)
    assert (first[:6] == 1).all() and (first[6:] == 0).all()
    assert (second[2:] == 2).all() and (second[:2] == 0).all()


def test_downsampling_takes_the_label_of_the_largest_fraction(tmp_path):
    """Cubes that fill whole new voxels are preserved."""
    data = np.zeros((16, 16, 16), np.uint8)
    data[4:12, 4:12, 4:12] = 1
    data[6:10, 6:10, 6:10] = 2
    cell = save(tmp_path / "a.nii.gz", data)
    spec = LabelMapSpec(labels=["a", "b", "c"], spacing=4.0).resolve([cell], multiple=4)
    expected = np.zeros((8, 8, 8), int)
    expected[2:6, 2:6, 2:6] = 1
    expected[3:5, 3:5, 3:5] = 2
    assert np.array_equal(spec.indices(spec.parse(cell)).numpy(), expected)


def _keys(x):
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _halved(indicator):
    """Fractions on a grid of twice the spacing: Keys' kernel stretched by two, edge values repeated."""
    weights = np.zeros((8, 16))
    for new in range(8):
        for old in range(-4, 20):
            weights[new, min(max(old, 0), 15)] += _keys((old - (2 * new + 0.5)) / 2)
    weights /= weights.sum(1, keepdims=True)
    return np.clip(np.einsum("ai,bj,ck,ijk->abc", weights, weights, weights, indicator.astype(float)), 0, 1)


def test_fractions_are_those_of_the_low_pass_filter(tmp_path):
    data = np.random.default_rng(0).integers(0, 3, (16, 16, 16)).astype(np.uint8)
    cell = save(tmp_path / "a.nii.gz", data)
    spec = LabelMapSpec(labels=["a", "b", "c"], spacing=4.0).resolve([cell], multiple=4)
    fractions = np.stack([_halved(data == label) for label in range(3)])
    ranked = np.sort(fractions, 0)
    clear = ranked[-1] - ranked[-2] > 1e-4
    assert clear.mean() > 0.99
    assert np.array_equal(spec.indices(spec.parse(cell)).numpy()[clear], fractions.argmax(0)[clear])


@pytest.mark.parametrize("place", ["world", "box"])
@pytest.mark.parametrize("voxel", [(5, 5, 5), (4, 9, 12), (0, 15, 7)])
def test_a_lesion_of_one_voxel_is_kept_at_its_position(tmp_path, voxel, place):
    data = np.zeros((16, 16, 16), np.uint8)
    data[voxel] = 1
    cell = save(tmp_path / "a.nii.gz", data)
    spec = LabelMapSpec(labels=LESION, spacing=8.0, place=place).resolve([cell], multiple=4)
    assert spec.parse(cell)[0].nonzero().tolist() == [[index // 4 for index in voxel]]


def test_vanishing_labels_do_not_replace_each_other_s_only_voxel(tmp_path):
    data = np.zeros((16, 16, 16), np.uint8)
    data[5, 5, 5], data[5, 5, 6], data[6, 5, 5] = 1, 2, 3
    cell = save(tmp_path / "a.nii.gz", data)
    spec = LabelMapSpec(labels=TISSUE, spacing=8.0).resolve([cell], multiple=4)
    counts = spec.counts(spec.parse(cell))
    assert {label: counts[label] for label in ("fluid", "grey", "white")} == {"fluid": 1, "grey": 1, "white": 1}


def test_a_lesion_beyond_the_template_is_not_kept(tmp_path):
    data = np.zeros((16, 16, 16), np.uint8)
    data[8, 8, 8] = 1
    cell = save(tmp_path / "a.nii.gz", data, affine_of(1.0, (0, 0, 0)))
    template = save(tmp_path / "template.nii.gz", np.zeros((4, 4, 4), np.uint8), affine_of(2.0, (0.5, 0.5, 0.5)))
    spec = LabelMapSpec(labels=LESION, template=template).resolve([cell], multiple=1)
    assert spec.data_shape == (1, 4, 4, 4) and not spec.parse(cell).any()


def test_oblique_axes_keep_the_world_coordinates_of_labels(tmp_path):
    data = shells()
    angle = np.deg2rad(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= 2.0
    affine[:3, 3] = -affine[:3, :3] @ [7.5, 7.5, 7.5]
    cell = save(tmp_path / "a.nii.gz", data, affine)
    straight = save(tmp_path / "b.nii.gz", np.zeros((16, 16, 16), np.uint8), affine_of(origin=(-15, -15, -15)))
    spec = LabelMapSpec(labels=TISSUE).resolve([straight, cell], multiple=1)
    found = spec.indices(spec.parse(cell)).numpy()
    to_old = np.linalg.inv(affine) @ np.array(spec.affine)
    nearest = affine_transform(data, to_old[:3, :3], to_old[:3, 3], found.shape, order=0, mode="constant")
    assert set(np.unique(found)) <= {0, 1, 2, 3}
    assert (found == nearest).mean() > 0.93
    where = np.indices(found.shape).reshape(3, -1).T @ np.array(spec.affine)[:3, :3].T + np.array(spec.affine)[:3, 3]
    radius = np.linalg.norm(where, axis=1).reshape(found.shape)
    assert (found[radius < 4] == 3).all() and (found[radius > 21] == 0).all()


def test_grids_of_images_and_label_maps_agree(tmp_path):
    data = shells()
    cell = save(tmp_path / "a.nii.gz", data)
    scan = save(tmp_path / "scan.nii.gz", np.random.default_rng(0).uniform(size=data.shape).astype(np.float32))
    for place in ("world", "box"):
        image = ImageSpec(spacing=3.0, place=place).resolve([scan], multiple=4)
        spec = LabelMapSpec(labels=TISSUE, spacing=3.0, place=place).resolve([cell], multiple=4)
        assert image.affine == spec.affine and image.shape == spec.shape
        assert spec.inside(cell).shape == spec.data_shape
        assert torch.equal(spec.inside(cell)[0], image.inside(scan)[0])
        assert spec.parse_mask(scan).shape == spec.data_shape


def test_the_centre_of_draws_is_their_majority():
    spec = LabelMapSpec(labels=["a", "b", "c"])
    votes = torch.tensor([[0, 0, 1], [1, 0, 2], [1, 2, 2]])  # draws of three voxels
    draws = torch.stack([spec.indicators(vote) for vote in votes]) * 0.7 + 0.1
    fractions = spec.center(draws, "mean")
    assert torch.allclose(fractions, torch.tensor([[1, 2, 0], [2, 0, 1], [0, 1, 2]]).double() / 3)
    assert spec.indices(fractions).tolist() == [1, 0, 2]
    pair = LabelMapSpec(labels=LESION)
    assert pair.indices(pair.center(torch.tensor([[[0.9, 0.6]], [[0.8, 0.4]], [[0.1, 0.0]]]), "median")).tolist() == [
        1,
        0,
    ]


def test_augmented_maps_move_like_images_and_remain_indicators():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (30, 6, 5, 4)))
    spec, rng = LabelMapSpec(labels=["a", "b", "c"], flip=True, shifts=2), Rng.for_rows(30, "alike")
    augmented = spec.augment(torch.stack([spec.indicators(one) for one in labels]), rng[:])
    image = ImageSpec(flip=True, shifts=2, jitter=0).augment(labels[:, None] / 2, rng[:])
    assert torch.equal(augmented.argmax(1)[:, None] / 2, image)
    assert not torch.equal(augmented.argmax(1), labels)
    assert torch.equal(augmented.sum(1), torch.ones(30, 6, 5, 4))


def test_labels_outside_the_grid_are_rejected(tmp_path):
    data = np.zeros((16, 16, 16), np.uint8)
    data[:2, :8, :8] = 1
    cell = save(tmp_path / "a.nii.gz", data)
    near = save(tmp_path / "b.nii.gz", np.zeros((12, 16, 16), np.uint8), affine_of(origin=(0, -9, -10)))
    spec = LabelMapSpec(labels=LESION).resolve([near], multiple=4)
    with pytest.raises(ValueError, match="100% of its contents lies outside the model's grid"):
        spec.parse(cell)
    with pytest.raises(CohortError, match="set 'spacing'"):
        LabelMapSpec(labels=LESION).resolve([cell, save(tmp_path / "c.nii.gz", data, affine_of(1.0))], multiple=4)


@settings(max_examples=30, deadline=None)
@given(
    data=arrays.arrays(np.uint8, (7, 6, 5), elements=st.integers(0, 3)), spacing=st.sampled_from([None, 1.0, 3.0, 5.0])
)
def test_labels_are_neither_added_nor_lost(tmp_path_factory, data, spacing):
    """On any grid, all labels of the file are present, and no others except the background."""
    cell = save(tmp_path_factory.mktemp("maps") / "a.nii", data)
    spec = LabelMapSpec(labels=TISSUE, spacing=spacing).resolve([cell], multiple=1)
    value = spec.parse(cell)
    assert torch.equal(value.sum(0), torch.ones(value.shape[1:]))
    present = {label for label, count in spec.counts(value).items() if count}
    own = {label for label, number in TISSUE.items() if (data == number).any()}
    assert own - {"outside"} <= present <= own | {"outside"}
    if spacing is None:
        assert np.array_equal(spec.indices(value).numpy(), data)
        assert spec.grid(cell).agrees(Grid(data.shape, affine_of()))
