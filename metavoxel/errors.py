"""Errors of the user's making: each says where, what, what exists and how to fix it, all at once."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

_LONGEST = 2000
_SHOWN_END = 400
"""Characters of a problem that are shown, and how many of them from its end, where the advice is."""


class Problem(NamedTuple):
    """One thing that is wrong.

    ``where`` locates it (``variables.age.range``, ``participants.tsv row 12 (sub-03), column Age``);
    ``what`` says what is wrong, what exists and how to mend it. As text, the middle of a problem that quotes
    something very long is left out.
    """

    where: str
    what: str

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if len(text) <= _LONGEST:
            return text
        return f"{text[: _LONGEST - _SHOWN_END]} ... {text[-_SHOWN_END:]}"


class MetavoxelError(Exception):
    """Something that the user can put right. The command line prints it without a traceback and exits with 2.

    Abstract by convention: raise one of the subclasses, which say which part of the work refused.
    """

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem("", problems)
        if isinstance(problems, Problem):
            problems = (problems,)
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class SchemaError(MetavoxelError):
    """A schema that cannot be read, or whose parts do not fit together."""


class CohortError(MetavoxelError):
    """A table, a folder or an image that the schema's rules refuse."""


class EvidenceError(MetavoxelError):
    """A question that the model cannot be asked."""


class RunError(MetavoxelError):
    """A run folder that cannot be written, resumed or loaded."""


class PluginError(MetavoxelError):
    """A plugin that cannot be loaded, or that breaks its contract."""


class NumericalError(MetavoxelError):
    """A computation that left the finite numbers."""


class CohortWarning(UserWarning):
    """Columns of a cohort that are doubtful, and cells of a table that are taken as missing."""


class LimitWarning(UserWarning):
    """Draws that lie on a limit because none within it was found."""


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`` Did you mean 'weight'?``, or nothing when no known word is near."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
