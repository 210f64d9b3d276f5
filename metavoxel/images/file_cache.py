"""Facts about files that have not changed since they were read, kept between processes in the user's cache folder."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from platformdirs import user_cache_path

FOLDER = "METAVOXEL_CACHE"
"""Environment variable with the folder of the cache; empty for none."""

VERSION = 1
"""Version of the facts. Files of other versions are ignored."""

FEWEST = 50
"""Number of files below which reading them again is as fast as the cache."""


def cache_folder() -> Path | None:
    """Return the folder that keeps facts: ``METAVOXEL_CACHE``, or the platform's; None if that variable is empty."""
    chosen = os.environ.get(FOLDER)
    if chosen is None:
        return user_cache_path("metavoxel", appauthor=False)
    return Path(chosen) if chosen else None


@final
class FileCache:
    """One fact, in JSON types, about each of many files; known as long as a file's size, time and inode are unchanged.

    A context, at whose end the cache is replaced as a whole. One that is absent, damaged or of another version is
    empty; one that cannot be written stays as it is. Of two processes that write, the last one's facts are kept, and
    the other's are found again.

    Args:
        paths: the files. Those below one folder share a file of the cache.
        kind: name of the facts.
    """

    def __init__(self, paths: Sequence[str], kind: str) -> None:
        self._states: dict[str, list[int]] = {}
        self._changed = False
        folder = cache_folder() if len(paths) >= FEWEST else None
        if folder is None:
            self._file, self._known = None, {}
            return
        common = os.path.commonpath([os.path.abspath(path) for path in paths])
        name = hashlib.blake2b(common.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        self._file = folder / kind / f"{name}.json"
        self._known = _read(self._file)

    def __enter__(self) -> "FileCache":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is None or not self._changed:
            return
        kept = {path: entry for path, entry in self._known.items() if path in self._states or os.path.exists(path)}
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            _write(self._file, json.dumps({"version": VERSION, "files": kept}))

    def get(self, path: str) -> Any | None:
        """Return the fact about a file; None if there is none, or the file has changed."""
        if self._file is None:
            return None
        path = os.path.abspath(path)
        try:
            found = os.stat(path)
        except OSError:
            return None
        state = self._states[path] = [found.st_size, found.st_mtime_ns, found.st_ino]
        entry = self._known.get(path)
        return entry[1] if entry is not None and entry[0] == state else None

    def put(self, path: str, fact: Any) -> None:
        """Keep a fact about a file as it was when ``get`` was called, before the file was read."""
        path = os.path.abspath(path)
        if self._file is not None and path in self._states:
            self._known[path] = [self._states[path], fact]
            self._changed = True


def _read(file: Path) -> dict[str, list[Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        files = found["files"] if found["version"] == VERSION else {}
        return files if all(isinstance(entry, list) and len(entry) == 2 for entry in files.values()) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(file: Path, text: str) -> None:
    """Replace a file as a whole; a cache need not be flushed to disk."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, suffix=".partial")
    try:
        with open(descriptor, "w", encoding="utf-8") as temporary:
            temporary.write(text)
        os.replace(name, file)
    except OSError:
        os.unlink(name)
        raise
