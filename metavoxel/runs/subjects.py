"""Progress of work on subjects, a preparation or phantoms, as that of other long work."""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, TypeVar

from metavoxel.runs.progress import Progress

if TYPE_CHECKING:  # the work itself may be of either kind, and importing both takes a second
    from metavoxel.cohort.phantoms.subjects import Progress as Written
    from metavoxel.preparation.dataset import Advance

_Result = TypeVar("_Result")


def subject_progress(work: "Generator[Advance, None, _Result]") -> Generator[Progress, None, _Result]:
    """Yield the progress of a preparation, subject by subject; return its result."""
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            result: _Result = stop.value
            return result
        yield Progress("subjects", step.done, step.total, {"failed": step.failed} if step.failed else {})


def phantom_progress(steps: "Iterator[Written]") -> Generator[Progress, None, None]:
    """Yield the progress of writing phantoms, subject by subject."""
    for step in steps:
        yield Progress("phantoms", step.number, step.total, {})
