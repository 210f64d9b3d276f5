"""Schemas that pass validation can be trained: random mutations of settings, and known late failures."""

import random
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from tiny_cohorts import IMAGES, TABLE, write_images, write_table

from metavoxel.cohort.read import read_cohort
from metavoxel.errors import MetavoxelError, NumericalError, SchemaError
from metavoxel.learning.buildable import check_buildable
from metavoxel.learning.missingness_weights import check_missing_weights
from metavoxel.learning.training import training
from metavoxel.plugins.registry import load_registry
from metavoxel.schema import load_schema, parse_schema

REGISTRY = load_registry(entry_points=False)


def problems_of(raw, **options):
    with pytest.raises(SchemaError) as caught:
        check_buildable(parse_schema(raw, folder=Path(), registry=REGISTRY), **options)
    return [str(problem) for problem in caught.value.problems]


def changed(raw, **variables):
    raw = deepcopy(raw)
    for name, settings in variables.items():
        raw["variables"][name] |= settings
    return raw


WRONG = [
    (IMAGES, {"picture": {"codec": "linear"}}, "variables.picture.codec: codec 'linear' does not accept data of shape [1, 2, 2]; "
     "use 'local_pca', the default for 'image'"),
    (TABLE, {"age": {"codec": "identity"}}, "variables.age.codec: codec 'identity' gives a code without channels for one "
     "number per row; use 'linear'"),
    (TABLE, {"age": {"codec": "kl_vae"}}, "variables.age.codec: cannot be built with these settings"),
    (IMAGES, {"volume": {"codec": {"type": "kl_vae", "latent_channels": 10**9}}}, "variables.volume.codec: weights, gradients "),
    (IMAGES, {"picture": {"adapter": {"type": "grid_summary", "components": 10**9}}}, "variables.picture.adapter: weights, "),
    (IMAGES, {"volume": {"codec": {"type": "local_pca", "channels": 65}}}, "variables.volume.codec: 65 channels are more than "),
    (IMAGES, {"volume": {"codec": {"type": "kl_vae", "batch_size": 10**12}}}, "variables.volume.codec.batch_size: batches of "),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "settings", "expected"), WRONG, ids=[expected[:40] for _, _, expected in WRONG])
def test_problems_are_located(raw, settings, expected):
    (problem,) = problems_of(changed(raw, **settings))
    assert problem.startswith(expected)


def test_images_of_unknown_grid_get_the_axes_that_suit_their_codec():
    """The voxels of a block, of which a codec cannot have more channels, are more in three axes than in two."""
    check_buildable(
        parse_schema(
            changed(IMAGES, volume={"codec": {"type": "local_pca", "channels": 64}}), folder=Path(), registry=REGISTRY
        )
    )


def test_networks_beyond_the_memory_are_refused():
    wide = {"type": "transformer", "width": 10**6, "depth": 1, "heads": 4}
    (problem,) = problems_of({**TABLE, "backbone": wide})
    assert problem.startswith("backbone: weights, gradients and optimiser state take more than ")
    (problem,) = problems_of({**TABLE, "backbone": {**wide, "width": 64}}, memory=10**5)
    assert "and this machine has 0.0001 GB" in problem
    check_buildable(parse_schema({**TABLE, "backbone": {**wide, "width": 64}}, folder=Path(), registry=REGISTRY))
    (problem,) = problems_of({**TABLE, "training": {"batch_size": 10**12}})
    assert problem.startswith("training.batch_size: batches of 1,000,000,000,000 rows take more than ")


def test_an_image_beyond_the_memory_is_refused_with_the_tile_that_fits():
    large = changed(IMAGES, volume={"shape": [192, 224, 192]})
    (problem,) = problems_of(large, memory=2 * 10**9)
    assert problem.startswith(
        "variables.volume.codec: encoding and decoding images of 192 x 224 x 192 voxels takes about "
    )
    tile = int(problem.split("set 'tile: ")[1].split("'")[0])
    codec = {**IMAGES["variables"]["volume"]["codec"], "tile": tile}
    check_buildable(
        parse_schema(changed(large, volume={"codec": codec}), folder=Path(), registry=REGISTRY), memory=2 * 10**9
    )


def test_building_allocates_no_memory_and_removes_its_hooks():
    check_buildable(parse_schema(IMAGES, folder=Path(), registry=REGISTRY), memory=10**15)
    layer = torch.nn.Linear(2, 2)
    assert layer.weight.device.type == "cpu"
    with pytest.raises(SchemaError):
        check_buildable(parse_schema(IMAGES, folder=Path(), registry=REGISTRY), memory=10)
    torch.nn.Linear(2, 2)


VALUES = [
    None, True, False, "", "text", "gaussian", "identity", "linear", "onehot", "kl_vae", "d3pm_uniform", "token", "painted",
    "grid", "grid_summary", "transformer", "mlp", "unet", "log", "range", "x0", "v", "epsilon", "shared", "muon", 0, 1, 2, 3, 7, -1,
    0.5, 0.999, 1e-300, 1e300, float("nan"), float("inf"), 10**9, 10**15, 10**40, [], [1], [1, 2], [2, 1], [8, 8], [8, 16, 3],
    ["a", "b"], ["age"], [["age"]], {}, {"type": "linear"}, {"a": 1, "b": 2}, "Ä" * 70, "Sex", "picture",
]  # fmt: skip
PARTS = {
    "codec": ["identity", "linear", "onehot", "kl_vae", {"scale": "range"}, {"type": "kl_vae", "downsampling": 2, "steps": 1}],
    "kernel": ["gaussian", "d3pm_uniform", {"prediction": "x0"}, {"schedule": {"type": "linear"}, "prediction": "epsilon"}],
    "adapter": ["token", "painted", "grid", "grid_summary", {"dropout": 0.99}, {"baseline": False}, {"alike": True}, {"components": 99}],
}  # fmt: skip
ADDED = {
    "cohort": {"missing": [["NA", -1], []], "split": [{"train": 0.98, "validation": 0.01, "test": 0.01}, {"seed": -5}]},
    "training": {"seed": [0, 2**62], "clip": [1e-300, 1e300], "ema": [0, 0.999], "warm_up": [0, 10**15], "optimiser": ["muon"],
                 "learning_rate": [1e-300, 1e-3], "weight_decay": [0, 9], "token_rows": [0, 3], "draw_share": [1, 0.5],
                 "questions": [[["age"]], [[]], [["age"], ["sex"]]], "time_power": [1e-300, 1, 99], "missing_weights": [["age"]]},
    "diffusion": {"times": ["shared"], "factors": [[["age", "sex"], ["score"]], [["age"]]]},
    "variable": {**PARTS, "weight": [1e-300, 1e30, 3], "range": [[0, 1], [-1e30, 1e30], [20, 20.0001]], "valid": [[0, 1e9], [0, 50]],
                 "transform": ["log"], "unit": ["y"], "shape": [[8, 8], [16, 12], [12, 12, 12], [1, 1]], "spacing": [3.0, 50.0],
                 "percentiles": [[0, 100], [49, 51]], "shifts": [0, 99], "jitter": [0, 0.99], "flip": [True]},
    "backbone": {"width": [1, 8], "heads": [1, 3], "depth": [1, 2], "dropout": [0, 0.99], "channels": [[8], [7, 13], [4, 4, 4]],
                 "head_channels": [1, 3, 99], "residual_blocks": [2], "attention_levels": [[], [0], [1], [0, 1]],
                 "token_width": [1, 7, 48], "token_layers": [0, 1]},
}  # fmt: skip


def mutated(raw, draw):
    """Change, add, remove or copy one or two settings."""
    raw = deepcopy(raw)
    for _ in range(draw.choice((1, 1, 2))):
        places = [(raw[section], name) for section in raw for name in raw[section]]
        places += [(one, name) for one in raw["variables"].values() if isinstance(one, dict) for name in one]
        parts = [
            one.get(part) for one in raw["variables"].values() if isinstance(one, dict) for part in ("codec", "adapter")
        ]
        places += [(part, name) for part in parts if isinstance(part, dict) for name in part]
        section, name = draw.choice(places)
        how = draw.random()
        if how < 0.25:
            kind = draw.choice(list(ADDED))
            owner = draw.choice(list(raw["variables"].values())) if kind == "variable" else raw.setdefault(kind, {})
            if isinstance(owner, dict):
                name, values = draw.choice(list(ADDED[kind].items()))
                owner[name] = draw.choice(VALUES if draw.random() < 0.2 else values)
        elif how < 0.35:
            del section[name]
        elif how < 0.45:
            other, key = draw.choice(places)
            section[name] = deepcopy(other[key])
        elif how < 0.5:
            section[draw.choice(("n" * 250, "con", "AGE", "age_sd", "é"))] = section.pop(name)
        else:
            same_type = [value for value in VALUES if type(value) is type(section[name])]
            section[name] = draw.choice(VALUES if draw.random() < 0.3 else same_type or VALUES)
    return raw


def outcome(raw, folder, output):
    """Return 'refused' if ``metavoxel validate`` fails, or 'trained' after a step of training."""
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    try:
        schema = load_schema(path, REGISTRY)
        check_buildable(schema)
        cohort = read_cohort(schema.specs, schema.cohort, folder=schema.folder, multiples=schema.multiples())
        check_missing_weights(schema, cohort)
        check_buildable(schema.with_specs(cohort.variables))
    except MetavoxelError as error:
        assert str(error)
        return "refused"
    events = training(schema, folder / output, precision="32-true", accelerator="cpu", registry=REGISTRY)
    try:
        for event in events:
            if event.stage == "joint" or (event.done > 3 and event.stage.startswith("codec")):
                break
    except NumericalError as error:
        return f"diverged: {error}"  # as with a weight of 1e30
    events.close()
    return "trained"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    table, images = tmp_path_factory.mktemp("table"), tmp_path_factory.mktemp("images")
    write_table(table)
    write_images(images)
    return {"table": (TABLE, table), "images": (IMAGES, images)}


@pytest.mark.parametrize(
    ("kind", "start", "count"),
    [
        ("table", 0, 12),
        ("images", 0, 2),
        pytest.param("table", 1000, 130, marks=pytest.mark.slow),
        pytest.param("images", 1000, 70, marks=pytest.mark.slow),
    ],
)
def test_schemas_that_pass_validation_can_be_trained(folders, kind, start, count):
    """Every mutation is trained or raises a MetavoxelError."""
    raw, folder = folders[kind]
    found = [outcome(mutated(raw, random.Random(seed)), folder, f"run{seed}") for seed in range(start, start + count)]
    assert len(found) == count
    assert count < 10 or {"refused", "trained"} <= set(found)
