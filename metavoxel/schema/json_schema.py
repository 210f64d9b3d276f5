"""JSON Schema of the installed types, for completion and validation of schema files in editors."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from metavoxel.plugins.registry import Registry
from metavoxel.schema.names import MAX_LENGTH
from metavoxel.schema.parse import PARTS, SECTIONS


def json_schema(registry: Registry) -> dict[str, Any]:
    """Build a JSON Schema (draft 2020-12) with one branch per installed type."""
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
                "description": f"{part} of this variable, as a name or settings; by default that of its type",
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
                "description": "variables of the joint model, by name",
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"maxLength": MAX_LENGTH},
                "additionalProperties": {"oneOf": branches("variables")},
            },
            "backbone": {
                "description": "network shared by all variables",
                "anyOf": [{"type": "string", "enum": registry.names("backbones")}, *branches("backbones")],
            },
        },
        "$defs": shared,
    }
