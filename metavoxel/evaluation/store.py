"""Intermediate results of an evaluation in files, from which an interrupted one resumes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from metavoxel.storage.atomic import write_text


@final
class Store:
    """Intermediate results as JSON files, each named by a digest of its dependencies.

    Args:
        folder: folder of the files.
        depends: dependencies of every result, such as the model's weights.
    """

    def __init__(self, folder: Path, depends: Mapping[str, Any]) -> None:
        self.folder, self._depends = folder, dict(depends)

    def path(self, name: str, settings: Mapping[str, Any], suffix: str = ".json") -> Path:
        """Path of one result; without a suffix, a folder."""
        text = json.dumps([self._depends, settings], sort_keys=True)
        return self.folder / f"{name}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}{suffix}"

    def read(self, path: Path) -> Any | None:
        """Content of a file; None where it is missing or cannot be read."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError, UnicodeDecodeError):
            return None

    def write(self, path: Path, content: Any) -> None:
        """Replace a file atomically."""
        write_text(path, json.dumps(content))


def digest(path: Path) -> str:
    """Digest of a file's contents, in sixteen hexadecimal digits."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
