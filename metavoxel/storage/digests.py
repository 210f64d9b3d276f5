"""Digests of files by content, cached by size and time, so that a file is read again only if those changed."""

import glob
import hashlib
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import final

from metavoxel.storage.atomic import locked, write_text

_PAIRED = {".hdr", ".img", ".nhdr", ".mhd"}
"""Extensions of headers and voxels in files of their own, which have one name."""

_BLOCK = 2**20

SECONDS_BETWEEN_SAVES = 20.0
"""Time between two writes of the cache while files are read: what a crash costs at most."""


@final
class FileDigests:
    """Digests of the contents of files and folders.

    Two copies of a file have one digest, and so has a file whose time alone changed.

    A context, at whose end the cache is written. Of several processes with one cache, the first that has to read a file
    does so, and the others wait for its digests.

    Args:
        cache: JSON file that keeps digests between processes, with the size and modification time at which each was
            computed. Absent or damaged, all files are read. None keeps nothing.
    """

    def __init__(self, cache: Path | None) -> None:
        self._cache, self._changed, self._locked = cache, False, False
        self._known: dict[str, list] = {} if cache is None else _read(cache)
        self._saved, self._stack = time.monotonic(), ExitStack()

    def __enter__(self) -> "FileDigests":
        return self

    def __exit__(self, *error: object) -> None:
        with self._stack:
            self._save()

    def of(self, path: str) -> str | None:
        """Digest of a file, of a file and its companions of the same name (.hdr and .img), or of a folder's files.

        None if there is no such file, or it cannot be read.

        Raises:
            RunError: the cache cannot be written.
        """
        try:
            return self._digest(Path(path))
        except OSError:
            return None

    def _save(self) -> None:
        if self._cache is not None and self._changed:
            write_text(self._cache, json.dumps(self._known))
            self._changed = False
        self._saved = time.monotonic()

    def _digest(self, path: Path) -> str:
        suffixes = {suffix.lower() for suffix in path.suffixes}
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if file.is_file()]
        elif suffixes & _PAIRED:
            stem = path.name.split(".")[0]
            files = sorted(file for file in path.parent.glob(f"{glob.escape(stem)}.*") if file.is_file())
        else:
            return self._of_file(path)
        content = [[file.name.removeprefix(path.name.split(".")[0]), self._of_file(file)] for file in files]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def _of_file(self, path: Path) -> str:
        stat = path.stat()
        state, key = [stat.st_size, stat.st_mtime_ns, stat.st_ino], str(path.absolute())
        if self._known.get(key, [])[:3] != state:
            self._wait()
        if self._known.get(key, [])[:3] != state:
            digest = hashlib.blake2b(digest_size=16)
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
            self._known[key] = [*state, digest.hexdigest()]
            self._changed = True
            if time.monotonic() - self._saved >= SECONDS_BETWEEN_SAVES:
                self._save()
        return str(self._known[key][3])

    def _wait(self) -> None:
        """Before the first file is read, hold the lock of the cache, and read again what others have written to it."""
        if self._cache is not None and not self._locked:
            self._stack.enter_context(locked(self._cache.parent))
            self._locked = True
            self._known |= _read(self._cache)


def _read(cache: Path) -> dict[str, list]:
    try:
        found = json.loads(cache.read_text(encoding="utf-8"))
        valid = all(isinstance(entry, list) and len(entry) == 4 for entry in found.values())
        return found if valid else {}
    except (OSError, ValueError, AttributeError):
        return {}
