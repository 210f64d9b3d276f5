"""What a comparison method is: jobs that train something, and leave its answers about the test subjects."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from metavoxel.comparisons.stopwatch import Stopwatch
from metavoxel.comparisons.study import Study
from metavoxel.runs.progress import Progress
from metavoxel.schema import Schema


class Done(NamedTuple):
    """What a job came to.

    Attributes:
        targets: variables that have a table of predictions now, and what each was predicted from.
        evaluations: network evaluations a prediction; 0 where there is no network.
        parameters: numbers that were fitted.
        seconds_a_row: to predict one row, everything being loaded.
    """

    targets: Mapping[str, Sequence[str]]
    evaluations: int
    parameters: int
    seconds_a_row: float


class Job(NamedTuple):
    """A part of a method's work that succeeds or fails by itself: often, one target."""

    name: str
    work: Generator[Progress, None, Done]


class AbstractComparison(ABC):
    """A method that a run's answers are compared with. Has settings, and no state."""

    heeds: ClassVar[tuple[str, ...]] = ()
    """Those of :class:`~metavoxel.comparisons.study.ComparisonSettings` that what it trains depends on."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """What it is, in a line."""

    @abstractmethod
    def unsuitable(self, schema: Schema) -> str | None:
        """Why it can do nothing for a schema; None where it can do something."""

    @abstractmethod
    def jobs(self, study: Study, folder: Path, watch: Stopwatch) -> Iterator[Job]:
        """Its work, which leaves tables (and samples) in ``folder``; the time that training takes goes to ``watch``.

        A job that was stopped early goes on from there when it is asked for anew.
        """
