"""Cohort: rows with their subjects, values and split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import pandas
from jaxtyping import Int64
from torch import Tensor

from metavoxel.errors import Problem
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.parts.variables.column import Column


@final
@dataclass(frozen=True, eq=False)
class Cohort:
    """All rows of a table or BIDS folder, in order.

    Attributes:
        frame: the table's cells, as text.
        subjects: subject of each row.
        row_keys: unique key of each row: the subject and, where a subject has several rows, the session and the order
            of appearance among rows that share both.
        places: location of each row, for messages.
        variables: resolved settings, with everything inferred from the cohort filled in.
        columns: values of each variable.
        parts: rows of 'train', 'validation' and 'test'; rows without any value are in none. Empty if no split was
            requested.
        blanked: for each variable and rule, the cells that the rule set to missing.
        fingerprint: digest of the values, the settings that shape them, the image files and the parts.
        notices: warnings of the table's reader: identifiers that were matched, subjects without images, files left out.
    """

    frame: pandas.DataFrame
    subjects: list[str]
    row_keys: list[str]
    places: Sequence[str]
    variables: Mapping[str, AbstractVariableSpec]
    columns: Mapping[str, Column]
    parts: Mapping[str, Int64[Tensor, "rows"]]
    blanked: Mapping[str, Mapping[str, list[str]]]
    fingerprint: str
    notices: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.subjects)
