"""The JSON Schema for completion and validation in editors."""

import json
from pathlib import Path

import pytest
import yaml

from metavoxel.plugins.registry import load_registry
from metavoxel.schema.json_schema import json_schema

CONTRACTS = Path(__file__).parent / "contracts"
SCHEMA = json_schema(load_registry(entry_points=False))
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int}
ANNOTATIONS = {"title", "description", "default", "discriminator", "format", "$schema", "$defs"}


def of_type(value, name):
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, TYPES[name]) and not (name == "integer" and isinstance(value, bool))


def accepts(schema, value):
    """Validate by the keywords of draft 2020-12 that these schemas use; any other keyword is an error."""
    checks = {
        "$ref": lambda to: accepts(SCHEMA["$defs"][to.removeprefix("#/$defs/")], value),
        "type": lambda names: any(of_type(value, name) for name in ([names] if isinstance(names, str) else names)),
        "const": lambda constant: value == constant,
        "enum": lambda constants: value in constants,
        "anyOf": lambda branches: any(accepts(branch, value) for branch in branches),
        "oneOf": lambda branches: sum(accepts(branch, value) for branch in branches) == 1,
        "required": lambda names: not isinstance(value, dict) or set(names) <= set(value),
        "propertyNames": lambda rule: not isinstance(value, dict) or all(accepts(rule, key) for key in value),
        "minProperties": lambda least: not isinstance(value, dict) or len(value) >= least,
        "properties": lambda known: (
            not isinstance(value, dict) or all(accepts(known[key], value[key]) for key in value if key in known)
        ),
        "additionalProperties": lambda rest: (
            not isinstance(value, dict)
            or all(rest and accepts(rest, value[key]) for key in value if key not in schema.get("properties", {}))
        ),
        "items": lambda item: not isinstance(value, list) or all(accepts(item, entry) for entry in value),
        "prefixItems": lambda items: not isinstance(value, list) or all(map(accepts, items, value)),
        "maxLength": lambda most: not isinstance(value, str) or len(value) <= most,
        "minItems": lambda least: not isinstance(value, list) or len(value) >= least,
        "maxItems": lambda most: not isinstance(value, list) or len(value) <= most,
        "minimum": lambda least: not of_type(value, "number") or value >= least,
        "maximum": lambda most: not of_type(value, "number") or value <= most,
        "exclusiveMinimum": lambda bound: not of_type(value, "number") or value > bound,
        "exclusiveMaximum": lambda bound: not of_type(value, "number") or value < bound,
    }
    return all(checks[word](given) for word, given in schema.items() if word not in ANNOTATIONS)


def test_the_schema_is_plain_json():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", ["ds000228", "ds000228_paper", "ixi_tabular"])
def test_contracts_are_accepted(name):
    assert accepts(SCHEMA, yaml.safe_load((CONTRACTS / f"{name}.yaml").read_text(encoding="utf-8")))


def schema_with(variable, **sections):
    return {"cohort": {"table": "cohort.csv"}, "variables": {"x": variable}, **sections}


CONTINUOUS = {"type": "continuous"}

ACCEPTED = [
    schema_with(CONTINUOUS),
    schema_with({"type": "image", "entities": {"run": 1}, "codec": "identity"}),
    schema_with({"type": "continuous", "codec": {"scale": "standard"}, "kernel": {"prediction": "x0"}}),
    schema_with({"type": "categorical", "categories": {"a": 1, "b": "two"}}),
    schema_with(CONTINUOUS, backbone={"dropout": 0.1}),
    schema_with(CONTINUOUS, backbone="transformer"),
    {**schema_with(CONTINUOUS), "cohort": {"bids": "folder", "missing": [-999, "n/a"], "split": {"column": "part"}}},
]

REFUSED = [
    {},
    {"cohort": {"table": "cohort.csv"}},
    schema_with({}),
    schema_with({"column": "Age"}),
    schema_with({"type": "continous"}),
    schema_with({"type": "continuous", "wieght": 2}),
    schema_with({"type": "continuous", "weight": 0}),
    schema_with({"type": "continuous", "range": [1]}),
    schema_with({"type": "categorical"}),
    schema_with({"type": "categorical", "categories": ["a"]}),
    schema_with({"type": "image", "codec": "kl-vae"}),
    schema_with({"type": "image", "codec": {"type": "kl_vae", "downsamplin": 4}}),
    schema_with({"type": "image", "kernel": {"type": "gaussian", "schedule": {"type": "cosin"}}}),
    schema_with(CONTINUOUS, backbone={"type": "transformer", "channels": [3]}),
    schema_with(CONTINUOUS, training={"batchsize": 3}),
    schema_with(CONTINUOUS, trainin={}),
    schema_with(CONTINUOUS, diffusion={"times": "own"}),
]


@pytest.mark.parametrize("raw", ACCEPTED, ids=str)
def test_valid_schemas_are_accepted(raw):
    assert accepts(SCHEMA, raw)


@pytest.mark.parametrize("raw", REFUSED, ids=str)
def test_invalid_schemas_are_refused(raw):
    assert not accepts(SCHEMA, raw)


def test_every_setting_is_described():
    """Editors show the description of a setting; ``type`` needs none."""
    bare = [
        f"{model}.{name}"
        for model, definition in SCHEMA["$defs"].items()
        for name, setting in definition["properties"].items()
        if name != "type" and not setting.get("description")
    ]
    assert not bare


def test_every_type_has_a_branch():
    registry = load_registry(entry_points=False)
    branches = SCHEMA["properties"]["variables"]["additionalProperties"]["oneOf"]
    named = {SCHEMA["$defs"][branch["$ref"].rsplit("/", 1)[1]]["properties"]["type"]["const"] for branch in branches}
    assert named == set(registry.names("variables"))
