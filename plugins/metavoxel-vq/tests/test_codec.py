"""Training, partial codes, probabilities, settings, and a model of image tokens."""

import warnings
from typing import Literal

import metavoxel_absorbing
import metavoxel_vq
import numpy as np
import pandas
import pytest
import torch
from metavoxel_vq import FSQSpec
from PIL import Image

import metavoxel as mv
from metavoxel.errors import CohortWarning, SchemaError
from metavoxel.parts.indices import one_hot
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.plugins.hookspecs import hookimpl

REGISTRY = mv.load_registry(plugins=[metavoxel_absorbing, metavoxel_vq])


@pytest.fixture(scope="module")
def codec(discs, trained):
    return trained(FSQSpec(downsampling=4, width=32, blocks=1), discs(64))


def error(codec, data):
    return float((codec.decode(codec.encode(data).mean) - data).square().mean() / data.var())


def test_the_error_is_a_small_part_of_the_variance(codec, discs):
    assert error(codec, discs(32, seed=1)) < 0.15


def test_probabilities_decode_to_their_mean_levels(codec, discs):
    code = one_hot(codec.encode(discs(8)).mean[:, 0], codec.code_shape[0])
    torch.testing.assert_close(codec.decode(3 * code), codec.decode(code))
    mixed = codec.decode((code + code.flip(0)) / 2)
    assert float((mixed - codec.decode(code)).abs().max()) > 0.01 and bool(mixed.isfinite().all())


def test_a_block_is_known_where_its_voxels_are(codec, discs):
    data, known = discs(4), torch.ones(4, 1, 16, 16, dtype=torch.bool)
    known[:, :, :, 7:] = False
    encoded, reliable = codec.encode_partial(data, known)
    assert reliable[:, 0, :, 0].all() and not reliable[:, 0, :, 1:].any()
    assert torch.equal(encoded.mean[..., 0], codec.encode(data).mean[..., 0])


def test_volumes_have_codes():
    codec = FSQSpec(downsampling=2, levels=[3, 3]).build((2, 4, 4, 6))
    assert codec.code_shape == (9, 2, 2, 3)
    assert codec.decode(codec.encode(torch.randn(2, 2, 4, 4, 6)).mean).shape == (2, 2, 4, 4, 6)


def test_few_used_classes_are_a_warning():
    data = torch.zeros(200, 1, 16, 16)
    codec = FSQSpec(downsampling=4).build((1, 16, 16))
    with pytest.warns(CohortWarning, match="codec fsq: 1 of 200 classes are used; use fewer or lower 'levels'"):
        codec.fit(lambda: [data])


@pytest.mark.parametrize(
    ("levels", "message"),
    [([1, 8], "at least 2"), ([], "at least 2"), ([8] * 6, "262,144 classes, the product of the levels")],
)
def test_impossible_levels_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        FSQSpec(levels=levels)


def schema(folder, images, **image):
    random = np.random.default_rng(0)
    ages = 20 + 60 * images.mean((1, 2, 3)).numpy() + random.normal(size=40)
    for row, picture in enumerate(images):
        Image.fromarray((255 * picture[0].numpy()).astype(np.uint8)).save(folder / f"{row}.png")
    names = [str(folder / f"{row}.png") for row in range(40)]
    table = pandas.DataFrame({"participant_id": [f"s{row}" for row in range(40)], "image": names, "age": ages})
    codec = {"type": "fsq", "downsampling": 4, "levels": [4, 4], "steps": 20, "width": 8, "blocks": 1}
    return {
        "variables": {
            "image": {"type": "image", "column": "image", "codec": codec, "kernel": "masked", **image},
            "age": {"type": "continuous", "range": [0, 100]},
        },
        "backbone": {"type": "transformer", "width": 16, "depth": 1},
        "training": {"steps": 6, "batch_size": 8, "validate_every": 3},
    }, table


@pytest.mark.slow
def test_a_model_of_image_tokens_trains_predicts_and_completes(tmp_path, discs):
    raw, table = schema(tmp_path, discs(40), adapter="sequence")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CohortWarning)
        model = mv.train(raw, tmp_path / "run", table=table, registry=REGISTRY)
    model = mv.load(tmp_path / "run", registry=REGISTRY)
    drawn = model.sample(2, {"age": 40.0})["image"]
    assert drawn.shape == (2, 1, 16, 16) and bool(drawn.isfinite().all())
    image = torch.as_tensor(model.value_of("image", table["image"][0]))
    known = torch.zeros(1, 16, 16, dtype=torch.bool)
    known[:, :8] = True
    completed = model.sample(2, {"image": image}, {"image": known})["image"]
    assert torch.equal(completed[:, known], image[known].expand(2, -1))
    assert model.predict(table, "age", ["image"])["age"].notna().all()


def test_a_kernel_of_numbers_is_refused(tmp_path, discs):
    raw, table = schema(tmp_path, discs(40), kernel="gaussian", adapter="sequence")
    with pytest.raises(SchemaError, match="one_hot"):
        mv.train(raw, tmp_path / "run", table=table, registry=REGISTRY)


class OneHotAlone(UniformD3PMKernel):
    """A kernel of one-hot codes that takes no indices."""

    takes_indices = False

    type: Literal["one_hot_alone"] = "one_hot_alone"


class Plugin:
    @hookimpl
    def metavoxel_kernels(self):
        return [OneHotAlone]


def test_a_kernel_without_indices_is_refused(tmp_path, discs):
    raw, table = schema(tmp_path, discs(40), kernel="one_hot_alone", adapter="sequence")
    registry = mv.load_registry(plugins=[metavoxel_absorbing, metavoxel_vq, Plugin()])
    message = "codec 'fsq' of variable 'image' holds its code as class indices.* use .*'d3pm_uniform' or 'masked'"
    with pytest.raises(SchemaError, match=message):
        mv.train(raw, tmp_path / "run", table=table, registry=registry)
