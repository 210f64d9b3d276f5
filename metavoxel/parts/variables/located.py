"""Base of variables whose values are read from files: path, column or BIDS entities of each file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.entities import Entities

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class AbstractFileSpec(AbstractVariableSpec):
    """Settings that locate one file per row: by a pattern, by a column of the table, or by BIDS entities."""

    lazy: ClassVar[bool] = True
    column_advice: ClassVar[str] = (
        "Add one with the paths of the files, or set 'column' or 'path'; 'entities' are for cohort.bids"
    )

    path: str | None = Field(
        None, description="file of every row, with columns of the table in braces; relative to the folder of the table"
    )
    entities: Entities = Field(
        {},
        description="BIDS entities of the file, null for one that its name must not contain; by default {suffix: T1w}. "
        "Also 'run: first' or 'run: last' of a visit, 'extension', 'datatype', and 'derivative', a folder of "
        "'derivatives' instead of the raw data",
    )
    optional: bool = Field(
        False, description="treat a file of 'path' or 'column' that does not exist as a missing value"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("path", "column", "entities") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each specify the file: give one of them")
        return self

    def locate(self, name: str, row: Mapping[str, str], folder: Path) -> str:
        """Return the path of the file; "" if a column that it requires is empty.

        Also "" if ``optional`` and the file does not exist; a broken symbolic link counts as existing.

        Raises:
            KeyError: the table lacks a column; the argument is its name.
        """
        if self.path is None:
            text = row[self.column or name]
        else:
            values = {column: row[column] for column in _PLACEHOLDER.findall(self.path)}
            filled = all(value != "" for value in values.values())
            text = _PLACEHOLDER.sub(lambda match: values[match[1]], self.path) if filled else ""
        if not text or (self.optional and not os.path.lexists(folder / text)):
            return ""
        return str(folder / text)

    def required_columns(self, name: str) -> set[str]:
        """Return the column of the path, or the columns in its pattern."""
        return {self.column or name} if self.path is None else set(_PLACEHOLDER.findall(self.path))

    def bids_entities(self) -> Mapping[str, str | None] | None:
        return self.entities if self.path is None and self.column is None else None

    def file_columns(self, name: str) -> set[str]:
        return {self.column or name} if self.path is None else set()

    def with_folder(self, folder: Path) -> Self:
        return self if self.path is None else self.model_copy(update={"path": str(folder / self.path)})
