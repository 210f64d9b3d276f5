"""Missing cells of a table."""

from collections.abc import Iterable
from typing import final

from metavoxel.parts.variables.text import composed, decimal_number

_NOT_A_NUMBER = "nan"


@final
class MissingCodes:
    """Missing codes of a schema's ``cohort.missing``, and the empty text; test a cell by ``cell in codes``.

    Numeric codes match every cell of exactly the same number: -999 matches -999.0 and -9.99e+02, as written by pandas
    and others, but no nearby number. Other codes match as text; 'nan' in any case.

    Args:
        codes: as in the schema.
        numbers: whether numeric codes match; False for a column of identifiers, where 999 may be one.
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
