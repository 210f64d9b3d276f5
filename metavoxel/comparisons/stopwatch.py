"""How long the training of each job took, over all the runs of the program that it took."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final


@final
class Stopwatch:
    """Seconds by job, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seconds(self) -> dict[str, float]:
        """Of every job so far."""
        found: dict[str, float] = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        return found

    @contextmanager
    def running(self, job: str) -> Iterator[None]:
        """Count the time within, also where it ends early."""
        start = time.perf_counter()
        try:
            yield
        finally:
            found = self.seconds()
            found[job] = found.get(job, 0.0) + time.perf_counter() - start
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(found) + "\n", encoding="utf-8")
