"""What holds of every input, however damaged: it is read or refused in sentences, soon, and in little memory."""

import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from metavoxel.errors import MetavoxelError

SECONDS = 2
"""For one input."""

MOST_GROWTH = 500 << 20
"""Bytes that a run may add to the peak of the process."""

MOST_CHARACTERS = 2500
"""Of a problem as it is shown."""

Value = TypeVar("Value")


class Counts(NamedTuple):
    """Of a run: how many inputs there were, and how many of them were refused."""

    inputs: int = 0
    refused: int = 0

    def with_one(self, value: object) -> "Counts":
        """One input more, refused where there is no value."""
        return Counts(self.inputs + 1, self.refused + (value is None))

    def __str__(self) -> str:
        return f"{self.inputs} inputs: {self.refused} refused, {self.inputs - self.refused} read"


class TooSlowError(BaseException):
    """An input took longer than the limit. No Exception, so that nothing that is tested takes it for one of its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlowError in what takes longer; on the main thread alone, for others get no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TooSlowError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def memory_limit(growth: int = MOST_GROWTH) -> Iterator[None]:
    """Fail if the peak of the process grows by more than this many bytes."""
    before = _peak()
    yield
    assert _peak() - before < growth, f"{(_peak() - before) >> 20} MiB more memory"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def attempt(read: Callable[[], Value], where: str, seconds: float = SECONDS) -> Value | None:
    """What is read; None where it is refused.

    Raises:
        AssertionError: another exception than MetavoxelError, a problem without text, or more time than the limit.
    """
    try:
        with time_limit(seconds):
            return read()
    except MetavoxelError as error:
        assert error.problems and all(problem.what.strip() for problem in error.problems), f"{where}: {error!r}"
        assert "Type-check" not in str(error), f"{where}: {error}"
        longest = max(len(str(problem)) for problem in error.problems)
        assert longest < MOST_CHARACTERS, f"{where}: a problem of {longest} characters"
        return None
    except (Exception, TooSlowError) as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
