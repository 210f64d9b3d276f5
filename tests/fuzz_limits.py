"""Requirements on damaged inputs: they are read or refused with a message, within limits of time and memory."""

import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from metavoxel.errors import MetavoxelError

SECONDS = 2
"""Time limit of one input."""

MAX_GROWTH = 500 << 20
"""Maximum increase of the peak memory of the process during a run, in bytes."""

MAX_CHARACTERS = 2500
"""Maximum length of a problem in characters."""

Value = TypeVar("Value")


class Counts(NamedTuple):
    """Numbers of inputs and of refused inputs in a run."""

    inputs: int = 0
    refused: int = 0

    def with_one(self, value: object) -> "Counts":
        """Add one input, refused if the value is None."""
        return Counts(self.inputs + 1, self.refused + (value is None))

    def __str__(self) -> str:
        return f"{self.inputs} inputs: {self.refused} refused, {self.inputs - self.refused} read"


class TooSlowError(BaseException):
    """Time limit exceeded. Not an Exception, so that tested code does not catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlowError after a time limit; in the main thread only, which receives the signals."""
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
def memory_limit(growth: int = MAX_GROWTH) -> Iterator[None]:
    """Fail if the peak memory of the process grows by more than this many bytes."""
    before = _peak()
    yield
    assert _peak() - before < growth, f"{(_peak() - before) >> 20} MiB more memory"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def attempt(read: Callable[[], Value], where: str, seconds: float = SECONDS) -> Value | None:
    """Return the value read, or None if the input is refused.

    Raises:
        AssertionError: an exception other than MetavoxelError, a problem without text, or an exceeded time limit.
    """
    try:
        with time_limit(seconds):
            return read()
    except MetavoxelError as error:
        assert error.problems and all(problem.what.strip() for problem in error.problems), f"{where}: {error!r}"
        assert "Type-check" not in str(error), f"{where}: {error}"
        longest = max(len(str(problem)) for problem in error.problems)
        assert longest < MAX_CHARACTERS, f"{where}: a problem of {longest} characters"
        return None
    except (Exception, TooSlowError) as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
