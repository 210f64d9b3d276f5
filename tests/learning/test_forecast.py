"""What ``validate`` prints about the codes of images."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
from tiny_cohorts import IMAGES, TABLE, write_images, write_schema, write_table
from tiny_runs import leave

from metavoxel.cohort.read import read_cohort
from metavoxel.learning.forecast import image_code_lines, training_lines
from metavoxel.learning.latent_cache import codes_per_image
from metavoxel.plugins.registry import load_registry
from metavoxel.schema import load_schema, parse_schema
from metavoxel.storage.row_store import read_rows


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
    assert f"{copies} arrays in the cache" in volume


@pytest.mark.parametrize(("rows", "expected"), [(0, 6), (10, 6), (166, 6), (250, 4), (500, 2), (10_000, 2)])
def test_small_cohorts_have_more_augmentations(rows, expected):
    assert codes_per_image(rows) == expected


def test_training_lines_have_the_disk_of_the_cache_and_the_memory(tmp_path):
    """The disk is that of the files that training writes; tables alone have no such lines."""
    write_images(tmp_path)
    schema = load_schema(write_schema(tmp_path, IMAGES))
    leave(tmp_path / "schema.yaml", tmp_path / "run", "joint")
    cohort = read_cohort(schema.specs, schema.cohort, folder=schema.folder, multiples=schema.multiples())
    disk, device, host = training_lines(schema.with_specs(cohort.variables), cohort)
    written = dict.fromkeys(("codes", "values"), 0)
    for file in (tmp_path / "run" / "cache").glob("*/*.bin"):
        if file.parent.name.startswith(("picture", "volume")):
            written["values" if file.name == "values.bin" else "codes"] += _used(file)
    stated = {key: float(re.search(rf"{name} ([\d.e-]+)", disk)[1]) * 1e9
              for key, name in (("codes", "cached codes"), ("values", "preprocessed images"))}  # fmt: skip
    assert stated["values"] == pytest.approx(written["values"], rel=0.1)
    assert stated["codes"] == pytest.approx(written["codes"], rel=0.1)
    assert "training.cache_precision" in disk and "spacing" in disk
    assert "a step of 4 rows and 32 of tokens alone" in device and "training.batch_size" in device
    assert "the process 0.6;" in host and "fit of the baseline" in host
    write_table(tmp_path / "table")
    table = load_schema(write_schema(tmp_path / "table", TABLE))
    read = read_cohort(table.specs, table.cohort, folder=table.folder)
    assert not [*training_lines(table.with_specs(read.variables), read)]


def _used(file):
    """Bytes of the rows that were written: the others are zeros."""
    tensors = read_rows(file.parent)
    rows = tensors[file.stem].flatten(1)
    written = tensors["mean" if "mean" in tensors else "values"].flatten(1).any(1)
    return int(written.sum()) * rows.shape[1] * rows.element_size()
