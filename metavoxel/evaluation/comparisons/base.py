"""Interface of comparison methods: jobs that train a model and write its predictions for the test subjects."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from metavoxel.evaluation.comparisons.stopwatch import Stopwatch
from metavoxel.evaluation.comparisons.study import Study
from metavoxel.runs.progress import Progress
from metavoxel.schema import Schema


class Done(NamedTuple):
    """Result of a job.

    Attributes:
        targets: target variables with a table of predictions, and the predictors of each.
        evaluations: network evaluations per prediction; 0 without a network.
        parameters: number of fitted parameters.
        seconds_a_row: prediction time per row, excluding loading.
    """

    targets: Mapping[str, Sequence[str]]
    evaluations: int
    parameters: int
    seconds_a_row: float


class Job(NamedTuple):
    """Unit of a method's work that succeeds or fails independently, often one target."""

    name: str
    work: Generator[Progress, None, Done]


class AbstractComparison(ABC):
    """Method with which the predictions or samples of a run are compared. Has settings, and no state."""

    relevant_settings: ClassVar[tuple[str, ...]] = ()
    """Fields of :class:`~metavoxel.evaluation.comparisons.study.ComparisonSettings` on which training depends."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """One-line description of the method."""

    @abstractmethod
    def unsuitable(self, schema: Schema) -> str | None:
        """Return why the method does not apply to a schema; None if it does."""

    @abstractmethod
    def jobs(self, study: Study, folder: Path, watch: Stopwatch) -> Iterator[Job]:
        """Yield the jobs, which write tables and samples to ``folder`` and record their training time in ``watch``.

        An interrupted job resumes when it is run again.
        """
