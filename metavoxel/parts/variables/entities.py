"""BIDS entities as a schema writes them."""

from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema


def _as_text(entities: object) -> object:
    """Indices may be numbers. Any other value is left to be refused, an empty text as no label."""
    if not isinstance(entities, dict):
        return entities
    empty = [str(name) for name, value in entities.items() if value == ""]
    if empty:
        raise ValueError(f"{empty[0]!r} is empty; write null for files without it, or leave it out for any")
    return {str(name): str(value) if type(value) in (int, float) else value for name, value in entities.items()}


Entities = Annotated[
    dict[str, str | None],
    BeforeValidator(_as_text),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "null"]}}),
]
"""Labels of BIDS entities by name; null where a file's name must not have the entity."""
