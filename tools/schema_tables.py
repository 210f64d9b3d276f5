"""Write the tables of settings into ``docs/reference/schema.md``, from the settings classes themselves.

``python tools/schema_tables.py`` rewrites the tables. With ``--check`` it changes nothing, and exits with 1 if the
document is out of date. A table is between ``<!-- settings: NAME -->`` and ``<!-- end -->``.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from metavoxel.parts.kernels.schedules import CosineSchedule, LinearSchedule, ScaledLinearSchedule
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.plugins.registry import KINDS, load_registry
from metavoxel.schema.parse import SECTIONS
from metavoxel.schema.settings import SplitSettings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reference" / "schema.md"
SCHEDULES = (CosineSchedule, LinearSchedule, ScaledLinearSchedule)

_TABLE = re.compile(r"(?P<head><!-- settings: (?P<name>[\w .]+?) -->\n).*?(?P<tail><!-- end -->)", re.DOTALL)
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": ""}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def tables() -> dict[str, str]:
    """Return every table by its name: ``cohort``, ``variables continuous``, ``schedule cosine``, ..."""
    models: dict[str, type[BaseModel]] = {**SECTIONS, "cohort.split": SplitSettings}
    registry = load_registry(entry_points=False)
    for kind in KINDS:
        models |= {f"{kind} {name}": settings for name, (settings, _) in registry.entries[kind].items()}
    models |= {f"schedule {schedule.model_fields['type'].default}": schedule for schedule in SCHEDULES}
    shared = set(AbstractVariableSpec.model_fields) - {"type"}
    found = {
        name: _table(model, skip=shared if name.startswith("variables ") else set()) for name, model in models.items()
    }
    return found | {"variables": _table(AbstractVariableSpec, skip=set())}


def updated(text: str) -> str:
    """Return a document with its tables updated.

    Raises:
        KeyError: the document has a table without a settings class.
    """
    current = tables()
    return _TABLE.sub(lambda match: f"{match['head']}{current[match['name']]}{match['tail']}", text)


def names(text: str) -> list[str]:
    """Return the names of a document's tables."""
    return [match["name"] for match in _TABLE.finditer(text)]


def _table(model: type[BaseModel], skip: set[str]) -> str:
    schema = model.model_json_schema()
    rows = [
        f"| `{name}` | {_words(schema['properties'][name], schema)} | {_default(field)} | {field.description or ''} |"
        for name, field in model.model_fields.items()
        if name != "type" and name not in skip
    ]
    if not rows:
        return "No settings.\n"
    return "\n".join(["| setting | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "none"
    if isinstance(value, SplitSettings):
        return "see below"
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    plain = list(plain) if isinstance(plain, tuple) else plain
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=1000)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _words(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """Describe a JSON Schema in a few words."""
    return " or ".join(word for word in dict.fromkeys(_alternatives(schema, whole)) if word)


def _alternatives(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    for branch in schema.get("anyOf", schema.get("oneOf", ())):
        yield from _alternatives(branch, whole)
    if "$ref" in schema:
        target = whole["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        name = target.get("properties", {}).get("type", {}).get("const")
        yield f"`{{type: {name}}}`" if name else "mapping"
    elif "const" in schema or "enum" in schema:
        yield from (f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    elif isinstance(schema.get("type"), list):
        for kind in schema["type"]:
            yield from _alternatives({**schema, "type": kind}, whole)
    elif schema.get("type") == "array":
        yield _array(schema, whole)
    elif schema.get("type") == "object":
        yield "mapping"
    elif "type" in schema:
        word = "path" if schema.get("format") == "path" else _WORDS[schema["type"]]
        limits = ", ".join(_limits(schema))
        yield f"{word} {limits}".strip()


def _array(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(_words(item, whole) for item in schema['prefixItems'])}]"
    return f"list of {_words(schema.get('items', {}), whole) or 'values'}"


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{sign} {schema[bound]:g}" for bound, sign in _BOUNDS.items() if bound in schema)


def main() -> int:
    """Write the tables, or with ``--check`` compare them; return 1 if they differ."""
    before = DOCUMENT.read_text(encoding="utf-8")
    after = updated(before)
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(after, encoding="utf-8")
    elif before != after:
        print(f"{DOCUMENT.name} is out of date: run python tools/schema_tables.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
