"""Measures of predictions that a variable type brings with it, such as BLEU of texts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float64
from numpy import ndarray


class AbstractMeasure(ABC):
    """Agreement of predicted with true values, as a function of sums over rows.

    A measure of a set of rows, such as BLEU, is often no mean over rows. Statistics of each row are summed, and the
    measure is a function of the sums. So intervals need no further look at the values.
    """

    name: str
    """Name in tables, different from that of every other measure of the type."""

    higher_is_better: bool
    """Whether larger values are better predictions."""

    @abstractmethod
    def statistics(self, predicted: Sequence[str], true: Sequence[str]) -> Float64[ndarray, "n k"]:
        """Return the statistics of every row, from values as they are formatted in tables. Rows are independent."""

    @abstractmethod
    def value(self, totals: Float64[ndarray, " k"]) -> float:
        """Return the measure of a set of rows, from the sums of their statistics."""
