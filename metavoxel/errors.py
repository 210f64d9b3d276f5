"""Errors in user input, reported together: each gives its location, cause, valid alternatives and remedy."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

_MAX_LENGTH = 2000
_TAIL_LENGTH = 400
"""Maximum length of a problem's text, and characters kept from its end, where the remedy is."""


class Problem(NamedTuple):
    """One problem in user input.

    ``where`` locates it (``variables.age.range``, ``participants.tsv row 12 (sub-03), column Age``);
    ``what`` gives the cause, the valid alternatives and the remedy. As text, the middle of a very long problem is
    omitted.
    """

    where: str
    what: str

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if len(text) <= _MAX_LENGTH:
            return text
        return f"{text[: _MAX_LENGTH - _TAIL_LENGTH]} ... {text[-_TAIL_LENGTH:]}"


class MetavoxelError(Exception):
    """Base of errors that the user can correct. The command line prints it without a traceback and exits with 2.

    Abstract by convention: raise a subclass, which identifies the stage that failed.
    """

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem("", problems)
        if isinstance(problems, Problem):
            problems = (problems,)
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class SchemaError(MetavoxelError):
    """A schema that cannot be read, or whose parts are incompatible."""


class CohortError(MetavoxelError):
    """A table, folder or image that violates the rules of the schema."""


class EvidenceError(MetavoxelError):
    """A query that the model cannot answer."""


class RunError(MetavoxelError):
    """A run folder that cannot be written, resumed or loaded."""


class PluginError(MetavoxelError):
    """A plugin that cannot be loaded, or that violates its contract."""


class NumericalError(MetavoxelError):
    """A computation with a non-finite result."""


class CohortWarning(UserWarning):
    """Suspicious columns of a cohort, or table cells treated as missing."""


class RunWarning(UserWarning):
    """A damaged file of a run that is replaced, or steps of training that were skipped."""


class BoundWarning(UserWarning):
    """Draws clipped to a bound because rejection sampling accepted none within it."""


class SamplingWarning(UserWarning):
    """Settings with which draws are not samples of the model, such as too few steps."""


def closest(word: str, known: Sequence[str]) -> str | None:
    """Return the closest known word, in any case; None if none is close."""
    folded = {other.casefold(): other for other in reversed(known)}
    matches = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Suggest the closest known word, as `` Did you mean 'weight'?``; empty if none is close."""
    near = closest(word, known)
    return "" if near is None else f" Did you mean {near!r}?"
