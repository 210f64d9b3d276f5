"""Results of the panel, in one JSON file per part, table, method and seed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np


class Unit(NamedTuple):
    """One measurement: a method fitted once and evaluated."""

    part: str
    table: str
    method: str
    seed: int


@final
class Results:
    """Measurements in a folder; a folder with other settings is refused.

    Args:
        folder: of the files; created if it does not exist.
        settings: of all measurements (rows, draws, ...), stored with them.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.folder = folder
        record, text = folder / "settings.json", json.dumps(dict(settings), indent=1, sort_keys=True)
        folder.mkdir(parents=True, exist_ok=True)
        if record.exists() and record.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{folder} was measured by other settings ({record}). Remove it, or use another --output")
        record.write_text(text, encoding="utf-8")

    def _path(self, unit: Unit) -> Path:
        return self.folder / unit.part / f"{unit.table}__{unit.method}__{unit.seed}.json"

    def __contains__(self, unit: Unit) -> bool:
        return self._path(unit).exists()

    def keep(self, unit: Unit, figures: Mapping[str, object]) -> None:
        """Write one measurement atomically."""
        path = self._path(unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        started = path.with_suffix(".started")
        started.write_text(json.dumps({**unit._asdict(), "figures": _plain(figures)}), encoding="utf-8")
        started.replace(path)

    def of(self, part: str) -> Iterator[tuple[Unit, dict[str, Any]]]:
        """Yield all measurements of a part."""
        for path in sorted((self.folder / part).glob("*.json")):
            found = json.loads(path.read_text(encoding="utf-8"))
            figures = found.pop("figures")
            yield Unit(**found), figures


def _plain(value: Any) -> Any:
    """Convert to JSON types, with numbers to six digits."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}")
    return value
