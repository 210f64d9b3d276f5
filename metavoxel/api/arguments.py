"""Arguments of the Python interface, in every form in which a user may give them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas
from pydantic import BaseModel

from metavoxel.errors import CohortError, PluginError, Problem, RunError, SchemaError
from metavoxel.plugins.registry import Registry
from metavoxel.runs.run import RunFolder
from metavoxel.schema import Schema, Variable, parse_schema
from metavoxel.schema import load_schema as read_schema
from metavoxel.storage.atomic import write_text

COHORT = "cohort.csv"
"""File of a run folder that holds the rows of a data frame."""


def schema(source: object, *, folder: Path | str = ".", registry: Registry | None = None) -> Schema:
    """Read a schema, or check one given as plain data.

    Args:
        source: path of a YAML file; a mapping of its sections, whose variables may also be settings objects; or a
            schema, which is returned as it is.
        folder: where relative paths of a mapping start.
        registry: types that the schema may name; by default all installed.

    Raises:
        SchemaError: all problems, with their locations.
    """
    registry = as_registry(registry)
    if isinstance(source, Schema):
        return source
    if isinstance(source, Path | str):
        return read_schema(source, registry)
    if not isinstance(source, Mapping):
        what = f"must be a path, a mapping or a Schema, not {type(source).__name__}"
        raise SchemaError(Problem("schema", what))
    return parse_schema(plain(source), folder=Path(folder), registry=registry)


def plain(value: object) -> object:
    """Settings objects as mappings of what was set, at any depth."""
    if isinstance(value, BaseModel):
        found = value.model_dump(mode="json", exclude_unset=True)
        return {"type": value.type, **found} if "type" in type(value).model_fields else found  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    return value


def as_path(value: object, where: str) -> Path:
    """Return a path given as text or as one, or refuse the argument ``where``."""
    if not isinstance(value, Path | str):
        raise RunError(Problem(where, f"must be a path, not {type(value).__name__}"))
    return Path(value)


def as_names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return several names, of which one may come alone."""
    return (value,) if isinstance(value, str) else tuple(value)


def as_registry(value: object) -> Registry | None:
    """Return a registry, or refuse anything else."""
    if value is not None and not isinstance(value, Registry):
        what = f"must come from mv.load_registry([plugin, ...]), not {type(value).__name__}"
        raise PluginError(Problem("registry", what))
    return value


def schema_of(
    source: Schema | Path | str | Mapping[str, object],
    output: Path | str,
    table: pandas.DataFrame | None,
    registry: Registry | None,
    *,
    resume: bool,
) -> Schema:
    """The schema, with a data frame written to the run folder as its table."""
    if table is None:
        return schema(source, registry=registry)
    if not isinstance(table, pandas.DataFrame):
        what = f"must be a pandas.DataFrame, not {type(table).__name__}; a file is named in the schema's cohort.table"
        raise CohortError(Problem("table", what))
    file = (Path(output) / COHORT).absolute()
    if isinstance(source, Mapping):
        cohort = source.get("cohort", {})
        source = {**source, "cohort": {**(cohort if isinstance(cohort, Mapping) else {}), "table": str(file)}}
    parsed = schema(source, registry=registry)
    variables, table = absolute(parsed, table)
    text = table.to_csv(index=False)
    if not resume:
        RunFolder(Path(output)).claim(resume=False)
        # A start that a crash ended before the run's record leaves the same table.
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise RunError(f"{file}: would be overwritten; choose another output, or remove the file")
        write_text(file, text)
    elif not file.exists() or file.read_text(encoding="utf-8") != text:
        raise RunError(f"{file}: differs from the table; resume with the table that the run was started with")
    return Schema(
        variables,
        parsed.cohort.model_copy(update={"table": file, "bids": None, "participants": None}),
        parsed.backbone,
        parsed.diffusion,
        parsed.training,
        parsed.folder,
    )


def absolute(parsed: Schema, table: pandas.DataFrame) -> tuple[Mapping[str, Variable], pandas.DataFrame]:
    """Variables and rows whose images have absolute paths, for the table is moved to the run folder."""
    folder, variables, table = parsed.folder.absolute(), dict(parsed.variables), table.copy()
    for name, variable in parsed.variables.items():
        variables[name] = variable._replace(spec=variable.spec.with_folder(folder))
        for column in variable.spec.file_columns(name) & set(table):
            cells = table[column]
            table[column] = cells.where(cells.isna(), [str(folder / str(cell)) for cell in cells])
    return variables, table
