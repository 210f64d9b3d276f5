"""BIDS entities in a schema."""

from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema


def _as_text(entities: object) -> object:
    """Convert numeric indices to text; other invalid values are left to validation, empty texts are rejected."""
    if not isinstance(entities, dict):
        return entities
    empty = [str(name) for name, value in entities.items() if value == ""]
    if empty:
        raise ValueError(f"{empty[0]!r} is empty; write null for files without it, or omit it to accept any value")
    return {str(name): str(value) if type(value) in (int, float) else value for name, value in entities.items()}


Entities = Annotated[
    dict[str, str | None],
    BeforeValidator(_as_text),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "null"]}}),
]
"""Labels of BIDS entities by name; null if a file's name must not contain the entity."""
