"""Texts of one row of a table held by columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import final


@final
class RowTexts(Mapping[str, str]):
    """Texts of one row by column."""

    def __init__(self, columns: Mapping[str, Sequence[str]], row: int) -> None:
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> str:
        return self._columns[name][self._row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)
