"""Replace files as a whole: written beside their place, flushed to disk, then renamed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from metavoxel.errors import Problem, RunError

_REMEDIES = {
    errno.ENOSPC: "make room; finished work is kept: repeat the command, a training with `resume=True`",
    errno.EDQUOT: "make room in the quota; finished work is kept: repeat the command, a training with `resume=True`",
    errno.EFBIG: "the file system or the shell (ulimit -f) allows no file of this size; choose another `output`",
    errno.EROFS: "the file system is read-only; choose another `output`",
    errno.EACCES: "make the folder writable, or choose another `output`",
    errno.EPERM: "make the folder writable, or choose another `output`",
}


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success flush it to disk and rename it to ``path``.

    A crash, an interrupt or an error at any time leaves the former file, or the new one, but no part of either.

    Raises:
        RunError: the file cannot be written, in place of an OSError inside the context.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with located(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            flush_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Replace a text file in UTF-8.

    Raises:
        RunError: the file cannot be written.
    """
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def located(path: Path) -> Iterator[None]:
    """Convert errors of writing to ``path`` to messages with a remedy: a full disk, a read-only folder.

    Raises:
        RunError: in place of an OSError inside the context.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = _REMEDIES.get(error.errno or 0, "check the disk, or choose another `output`")
        raise RunError(Problem(str(path), f"cannot be written ({reason}): {remedy}")) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and hold its lock, after any other process that holds it.

    Raises:
        RunError: the folder cannot be written.
    """
    with located(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def flush_folder(folder: Path) -> None:
    """Flush the names of a folder to disk, on systems where that is possible."""
    with suppress(OSError):
        _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
