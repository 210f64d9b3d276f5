"""Which cells of a table are missing."""

from collections.abc import Iterable
from typing import final

from metavoxel.parts.variables.text import composed, decimal_number

_NOT_A_NUMBER = "nan"


@final
class MissingCodes:
    """The texts of ``cohort.missing``, and the empty one: ``cell in codes``.

    Codes that are numbers match every cell of the same number, exactly: -999 matches -999.0 and -9.99e+02, which
    pandas and others write, and no cell that is merely near. All other codes match as texts; 'nan' in any case.

    Args:
        codes: as the schema has them.
        numbers: whether codes that are numbers match; False for a column of names, where 999 may be a name.
    """

    def __init__(self, codes: Iterable[str], *, numbers: bool = True) -> None:
        texts = {composed(code) for code in codes}
        found = {text: decimal_number(text) for text in texts}
        self._numbers = {number for number in found.values() if number is not None and numbers}
        self._texts = {text for text, number in found.items() if number is None} | {""}
        self._nan = any(text.lower() == _NOT_A_NUMBER for text in texts)

    def __contains__(self, cell: str) -> bool:
        if cell in self._texts or composed(cell) in self._texts or (self._nan and cell.lower() == _NOT_A_NUMBER):
            return True
        return bool(self._numbers) and decimal_number(cell) in self._numbers
