"""A cohort: rows, their subjects, their values, and the parts they are divided into."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import pandas
from jaxtyping import Int64
from torch import Tensor

from metavoxel.cohort.column import Column
from metavoxel.errors import Problem
from metavoxel.parts.variables.base import AbstractVariableSpec


@final
@dataclass(frozen=True, eq=False)
class Cohort:
    """All rows of a table or BIDS folder, in its order.

    Attributes:
        frame: the table's cells, as text.
        subjects: subject of each row.
        row_keys: a name for each row, unique: the subject, and where one has several rows, its session and the order
            of appearance among rows that have both in common.
        places: where each row is, for messages.
        variables: the settings, with all that the cohort tells filled in.
        columns: the values of each variable.
        parts: rows of 'train', 'validation' and 'test'; rows without any value are in none. Empty where no split was
            asked for.
        blanked: for each variable and rule of it, the cells that the rule made missing.
        fingerprint: changes when values, settings that shape them, image files or parts do.
        notices: what the table's reader noticed: identifiers that were joined, subjects without images, files left out.
    """

    frame: pandas.DataFrame
    subjects: list[str]
    row_keys: list[str]
    places: list[str]
    variables: Mapping[str, AbstractVariableSpec]
    columns: Mapping[str, Column]
    parts: Mapping[str, Int64[Tensor, "rows"]]
    blanked: Mapping[str, Mapping[str, list[str]]]
    fingerprint: str
    notices: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.subjects)
