"""What ``validate`` prints about the codes of images."""

from copy import deepcopy
from pathlib import Path

import pytest
from tiny_cohorts import IMAGES, write_images

from metavoxel.cohort.read import read_cohort
from metavoxel.learning.forecast import image_code_lines
from metavoxel.learning.latent_cache import codes_per_image
from metavoxel.plugins.registry import load_registry
from metavoxel.schema import parse_schema


@pytest.mark.parametrize(
    ("codec", "kind", "channels", "copies"),
    [
        ({"type": "wavelet", "levels": 1}, "wavelet", 8, 2),
        ({"type": "local_pca", "downsampling": 2, "channels": 3}, "local_pca", 3, 2),
        (IMAGES["variables"]["volume"]["codec"], "kl_vae", 2, 3),
    ],
    ids=["wavelet", "local_pca", "kl_vae"],
)
def test_lines_have_the_padding_and_the_memory(tmp_path, codec, kind, channels, copies):
    write_images(tmp_path)
    raw = deepcopy(IMAGES)
    raw["variables"]["volume"]["codec"] = codec
    schema = parse_schema(raw, folder=Path(tmp_path), registry=load_registry(entry_points=False))
    cohort = read_cohort(schema.specs, schema.cohort, folder=schema.folder, multiples=schema.multiples())
    schema = schema.with_specs(cohort.variables)
    picture, volume = image_code_lines(schema, cohort)
    grid = [size // 2 for size in cohort.variables["volume"].data_shape[1:]]
    cells = grid[0] * grid[1] * grid[2]
    assert (
        picture.startswith("picture: codec identity, 1 channels on ")
        and "multiples of 2 (codec 1, backbone 2)" in picture
    )
    assert volume.startswith(
        f"volume: codec {kind}, {channels} channels on {'x'.join(map(str, grid))}, {channels * cells:,} "
    )
    assert "axes are padded to multiples of 4 (codec 2, backbone 2)" in volume
    memory = len(cohort) * codes_per_image(len(cohort.parts["train"])) * copies * channels * cells * 4
    assert f"codes of {len(cohort)} rows take {memory / 1e9:.2g} GB of memory in training" in volume


@pytest.mark.parametrize(("rows", "expected"), [(0, 6), (10, 6), (166, 6), (250, 4), (500, 2), (10_000, 2)])
def test_small_cohorts_have_more_augmentations(rows, expected):
    assert codes_per_image(rows) == expected
