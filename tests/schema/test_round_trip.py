"""Schemas of built-in types are read, and unchanged by writing and reading."""

from hypothesis import given, settings

from metavoxel.plugins.registry import load_registry
from metavoxel.schema import load_schema, parse_schema
from metavoxel.testing.strategies import schemas

REGISTRY = load_registry(entry_points=False)


@settings(max_examples=50)
@given(raw=schemas())
def test_any_schema_round_trips_through_yaml(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    schema = parse_schema(raw, folder=folder, registry=REGISTRY)
    assert list(schema.variables) == list(raw["variables"])
    written = folder / "schema.yaml"
    written.write_text(schema.to_yaml(folder), encoding="utf-8")
    again = load_schema(written, REGISTRY)
    assert again == schema
    assert list(again.variables) == list(schema.variables), "the order of the file is kept"
