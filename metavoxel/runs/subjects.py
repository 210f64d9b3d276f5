"""Progress of a preparation as that of other long work."""

from collections.abc import Generator
from typing import TypeVar

from metavoxel.preparation.dataset import Advance
from metavoxel.runs.progress import Progress

_Result = TypeVar("_Result")


def subject_progress(work: Generator[Advance, None, _Result]) -> Generator[Progress, None, _Result]:
    """Yield the progress of a preparation, subject by subject; return its result."""
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            result: _Result = stop.value
            return result
        yield Progress("subjects", step.done, step.total, {"failed": step.failed} if step.failed else {})
