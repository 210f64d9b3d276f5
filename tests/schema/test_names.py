"""Valid and invalid names of variables, after which files are named."""

from pathlib import Path

import pytest

from metavoxel.errors import SchemaError
from metavoxel.plugins.registry import load_registry
from metavoxel.schema import parse_schema

REGISTRY = load_registry(entry_points=False)


def parsed(*names):
    variables = {name: {"type": "continuous"} for name in names}
    return parse_schema({"cohort": {"table": "t"}, "variables": variables}, folder=Path(), registry=REGISTRY)


@pytest.mark.parametrize("name", ["n" * 64, "脑" * 64, "1", "Größe_2", "com", "com10", "cone", "null"])
def test_valid_names(name):
    assert list(parsed(name, "other").variables) == [name, "other"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["n" * 65], "has more than 64 characters, and files are named after it"),
        (["\U0001d49c" * 64], "has more than 64 characters"),
        (["con"], "is a device name on Windows"),
        (["LPT1"], "is a device name on Windows"),
        (["age", "Age"], "variables.Age: differs from 'age' only in upper and lower case"),
        (["straße", "STRASSE"], "variables.STRASSE: differs from 'straße'"),
        (["a b"], "a variable's name is made of letters, digits and _"),
    ],
)
def test_invalid_names(names, expected):
    with pytest.raises(SchemaError) as caught:
        parsed(*names)
    (problem,) = caught.value.problems
    assert expected in str(problem)
