"""The JSON Schema of the installed types, so that an editor completes and checks a schema file."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from metavoxel.plugins.registry import Registry
from metavoxel.schema.names import LONGEST
from metavoxel.schema.parse import PARTS, SECTIONS


def json_schema(registry: Registry) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) with one branch for every installed type."""
    models: list[type[BaseModel]] = [*SECTIONS.values()]
    models += [settings for entries in registry.entries.values() for settings, _ in entries.values()]
    references, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}"
    )
    shared: dict[str, Any] = definitions["$defs"]

    def reference(model: type[BaseModel]) -> dict[str, Any]:
        return dict(references[model, "validation"])

    def branches(kind: str) -> list[dict[str, Any]]:
        return [reference(settings) for settings, _ in registry.entries[kind].values()]

    for settings, _ in registry.entries["variables"].values():
        definition = shared[reference(settings)["$ref"].rsplit("/", 1)[1]]
        for part, kind in PARTS.items():
            definition["properties"][part] = {
                "description": f"{part} of this variable, by name with its settings; by default its type's own",
                "anyOf": [{"type": "string", "enum": registry.names(kind)}, *branches(kind)],
            }
        definition.setdefault("required", []).append("type")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "metavoxel schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["cohort", "variables"],
        "properties": {
            **{name: reference(settings) for name, settings in SECTIONS.items()},
            "variables": {
                "description": "the variables that the model joins, by name",
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"maxLength": LONGEST},
                "additionalProperties": {"oneOf": branches("variables")},
            },
            "backbone": {
                "description": "the network that all variables share",
                "anyOf": [{"type": "string", "enum": registry.names("backbones")}, *branches("backbones")],
            },
        },
        "$defs": shared,
    }
