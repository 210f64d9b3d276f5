"""Parse a schema in two passes: names to installed types, then each type's settings; report all problems together."""

import reprlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from metavoxel.errors import PluginError, Problem, SchemaError, did_you_mean
from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Parts
from metavoxel.plugins.registry import Registry, attribute_errors, load_registry
from metavoxel.schema.between import problems_between
from metavoxel.schema.names import collisions, problem_of_name
from metavoxel.schema.schema import Schema, Variable
from metavoxel.schema.settings import CohortSettings, DiffusionSettings, TrainingSettings
from metavoxel.schema.yaml_loader import as_number, read_yaml

Settings = TypeVar("Settings", bound=BaseModel)

SECTIONS: dict[str, type[BaseModel]] = {
    "cohort": CohortSettings,
    "diffusion": DiffusionSettings,
    "training": TrainingSettings,
}
PARTS = {"codec": "codecs", "kernel": "kernels", "adapter": "adapters"}

_NUMERIC_ERRORS = frozenset(("int_parsing", "float_parsing", "literal_error"))
_MAX_SHOWN = 200


def load_schema(path: Path | str, registry: Registry | None = None) -> Schema:
    """Read and check a YAML file. Tags are refused; nothing in it is executed.

    Raises:
        SchemaError: all problems of the file.
    """
    path = Path(path)
    return parse_schema(read_yaml(path), folder=path.parent, registry=registry)


def parse_schema(raw: object, *, folder: Path, registry: Registry | None = None) -> Schema:
    """Check a schema given as plain data; relative paths start at ``folder``.

    Raises:
        SchemaError: all problems, with their locations (``variables.sex.wieght: ...``).
    """
    registry = registry or load_registry()
    parser = _Parser(registry, folder)
    schema = parser.schema(raw)
    if parser.problems or schema is None:
        raise SchemaError(parser.problems)
    return schema


class _Parser:
    """Parser of schemas that collects all problems. Final."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._registry, self._folder = registry, folder
        self.problems: list[Problem] = []

    def _refuse(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def _mapping(self, raw: object, where: str) -> dict[str, Any] | None:
        if isinstance(raw, Mapping) and all(isinstance(key, str) for key in raw):
            return dict(raw)
        self._refuse(where, f"must be a mapping of names to settings, not {reprlib.repr(raw)}")
        return None

    def _validate(self, settings: type[Settings], raw: dict[str, Any], where: str) -> Settings | None:
        context = {"folder": self._folder}
        try:
            try:
                return settings.model_validate(raw, context=context)
            except ValidationError as error:
                return settings.model_validate(_coerced(raw, error.errors()), context=context)
        except ValidationError as error:
            for detail in error.errors():
                place = ".".join([where, *(str(step) for step in detail["loc"])])
                self._refuse(place, _explain(settings, detail))
            return None

    def _typed(self, kind: str, raw: dict[str, Any], where: str) -> Any:
        if "type" not in raw:
            self._refuse(f"{where}.type", f"is missing. Installed: {', '.join(self._registry.names(kind))}")
            return None
        try:
            settings = self._registry.resolve(kind, raw["type"], f"{where}.type")
        except PluginError as error:
            self.problems.extend(error.problems)
            return None
        return self._validate(settings, raw, where)

    def schema(self, raw: object) -> Schema | None:
        """Parse a schema; None if it cannot be built, with the reasons in ``problems``."""
        sections = self._mapping(raw, "schema")
        if sections is None:
            return None
        known = [*SECTIONS, "variables", "backbone"]
        for name in sections:
            if name not in known:
                self._refuse(
                    name, f"not a section of a schema.{did_you_mean(name, known)} Sections: {', '.join(known)}"
                )
        for name in ("cohort", "variables"):
            if name not in sections:
                self._refuse(name, "this section is missing")
        read: dict[str, Any] = {}
        for name, settings in SECTIONS.items():
            given = self._mapping(sections.get(name) or {}, name)
            if given is not None and (name != "cohort" or "cohort" in sections):
                read[name] = self._validate(settings, given, name)
        variables = self._variables(sections["variables"]) if "variables" in sections else {}
        spatial = any(
            variable.spec.spatial and not variable.parts.adapter.is_sequence for variable in variables.values()
        )
        backbone = self._backbone(sections.get("backbone"), spatial)
        if self.problems or backbone is None:
            return None
        schema = Schema(variables=variables, backbone=backbone, folder=self._folder, **read)
        self.problems.extend(problems_between(schema, self._registry))
        return schema

    def _variables(self, raw: object) -> dict[str, Variable]:
        given = self._mapping({} if raw is None else raw, "variables")
        if given is None:
            return {}
        if not given:
            self._refuse("variables", "name at least one variable")
        self.problems.extend(collisions(given))
        read = {name: self._variable(name, settings) for name, settings in given.items()}
        return {name: variable for name, variable in read.items() if variable is not None}

    def _variable(self, name: str, raw: object) -> Variable | None:
        where = f"variables.{name}"
        if problem := problem_of_name(name):
            self._refuse(where, problem)
        settings = self._mapping(raw, where)
        if settings is None:
            return None
        overrides = {part: settings.pop(part) for part in PARTS if part in settings}
        spec: AbstractVariableSpec | None = self._typed("variables", settings, where)
        if spec is None:
            return None
        try:
            with attribute_errors(spec, where):
                parts = spec.parts()
        except PluginError as error:
            self.problems.extend(error.problems)
            return None
        for part, override in overrides.items():
            chosen = self._part(part, override, getattr(parts, part), f"{where}.{part}")
            if chosen is None:
                return None
            parts = parts._replace(**{part: chosen})
        self._check_parts(name, spec, parts)
        return Variable(spec, parts)

    def _part(self, part: str, raw: object, default: BaseModel, where: str) -> Any:
        """Parse a part. If its type is the variable's default, omitted settings are the variable's, too."""
        if isinstance(raw, str):
            raw = {"type": raw}
        given = self._mapping(raw, where)
        if given is None:
            return None
        chosen = default.model_dump()
        if given.get("type", chosen["type"]) == chosen["type"]:
            given = {**default.model_dump(exclude_unset=True), "type": chosen["type"], **given}
        return self._typed(PARTS[part], given, where)

    def _check_parts(self, name: str, spec: AbstractVariableSpec, parts: Parts) -> None:
        where = f"variables.{name}"
        for part in ("codec", "kernel"):
            for problem in getattr(parts, part).problems():
                self._refuse(f"{where}.{part}", problem)
        for problem in spec.problems(parts):
            self._refuse(where, problem)
        usual = spec.parts().codec
        both_built_in = all(
            self._registry.origin("codecs", codec.type).distribution == "metavoxel" for codec in (parts.codec, usual)
        )
        if both_built_in and parts.codec.support != usual.support:
            self._refuse(
                f"{where}.codec",
                f"codec {parts.codec.type!r} gives {parts.codec.support} code, but type {spec.type!r} needs "
                f"{usual.support} code; use codec {usual.type!r}",
            )
        elif parts.codec.support != parts.kernel.support:
            self._refuse(
                f"{where}.kernel",
                f"kernel {parts.kernel.type!r} needs {parts.kernel.support} code, but codec {parts.codec.type!r} of "
                f"variable {name!r} gives {parts.codec.support} code",
            )
        elif parts.codec.indexed and not parts.kernel.takes_indices:
            classes = {one: self._registry.entries["kernels"][one][0] for one in self._registry.names("kernels")}
            takers = [one for one, kind in classes.items() if issubclass(kind, AbstractKernel) and kind.takes_indices]
            self._refuse(
                f"{where}.kernel",
                f"codec {parts.codec.type!r} of variable {name!r} holds its code as class indices, which kernel "
                f"{parts.kernel.type!r} does not take; use {' or '.join(map(repr, takers))}",
            )

    def _backbone(self, raw: object, spatial: bool) -> AbstractBackboneSpec | None:
        raw = {"type": raw} if isinstance(raw, str) else raw
        given = {} if raw is None else self._mapping(raw, "backbone")
        if given is None:
            return None
        backbone: AbstractBackboneSpec | None = self._typed(
            "backbones", {"type": "unet" if spatial else "transformer", **given}, "backbone"
        )
        return backbone


def _coerced(raw: dict[str, Any], details: Sequence[Any]) -> dict[str, Any]:
    """Copy the data, with refused values converted to the type of their setting where possible.

    A YAML file gives ``1e3`` and ``0x10`` as text, and ``2019`` as a number; the setting determines which is meant.
    """
    copied: dict[str, Any] = deepcopy(raw)
    for detail in details:
        given = detail["input"]
        if detail["type"] in _NUMERIC_ERRORS and isinstance(given, str):
            meant: object = as_number(given)
        elif detail["type"] == "string_type" and type(given) in (int, float):
            meant = str(given)
        else:
            continue
        if meant is not None:
            _replace_at(copied, detail["loc"], given, meant)
    return copied


def _replace_at(raw: Any, place: Sequence[Any], given: object, meant: object) -> None:
    """Replace ``given`` by ``meant`` at a location, which also names branches of unions that the data lack."""
    inside: Any = None
    last: Any = None
    for step in place:
        if (isinstance(raw, Mapping) and step in raw) or (
            isinstance(raw, list) and isinstance(step, int) and step < len(raw)
        ):
            inside, last, raw = raw, step, raw[step]
    if isinstance(inside, dict | list) and raw == given:
        inside[last] = meant


def _explain(settings: type[BaseModel], detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        known = [name for name in settings.model_fields if name != "type"]
        word = str(detail["loc"][-1])
        default = settings.model_fields["type"].default if "type" in settings.model_fields else None
        owner = f"type {default!r}" if default else "this section"
        nested = "" if len(detail["loc"]) == 1 else " here"
        return f"not a setting of {owner}{nested}.{did_you_mean(word, known)} Settings: {', '.join(known)}"
    if detail["type"] == "missing":
        return "is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return message
    if detail["type"] == "string_type" and detail["input"] is None:
        return f"{message}, and null (or ~) is not one; write it in quotation marks, as in the table"
    given = repr(detail["input"])
    return f"{message} (given: {given if len(given) <= _MAX_SHOWN else reprlib.repr(detail['input'])})"
