"""What an evaluation has computed so far, kept in files, so that it can be stopped and go on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final


@final
class Store:
    """Parts of an evaluation, each a JSON file whose name says all that it depends on.

    Args:
        folder: where the files lie.
        depends: what every part depends on: the model's weights, say.
    """

    def __init__(self, folder: Path, depends: Mapping[str, Any]) -> None:
        self.folder, self._depends = folder, dict(depends)

    def path(self, name: str, settings: Mapping[str, Any], suffix: str = ".json") -> Path:
        """The file, or with no suffix the folder, of one part."""
        text = json.dumps([self._depends, settings], sort_keys=True)
        return self.folder / f"{name}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}{suffix}"

    def read(self, path: Path) -> Any | None:
        """What was written to it; None where nothing, or nothing that can be read, was."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError, UnicodeDecodeError):
            return None

    def write(self, path: Path, content: Any) -> None:
        """Replace a file whole: it is there complete or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(path)


def digest(path: Path) -> str:
    """A file's contents in sixteen letters."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
