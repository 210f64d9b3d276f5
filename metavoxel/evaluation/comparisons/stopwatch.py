"""Training time of each job, accumulated over interrupted runs."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final


@final
class Stopwatch:
    """Seconds by job, stored in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seconds(self) -> dict[str, float]:
        """Return the accumulated seconds of every job."""
        times: dict[str, float] = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        return times

    @contextmanager
    def running(self, job: str) -> Iterator[None]:
        """Time the context, also if it is interrupted."""
        start = time.perf_counter()
        try:
            yield
        finally:
            times = self.seconds()
            times[job] = times.get(job, 0.0) + time.perf_counter() - start
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(times) + "\n", encoding="utf-8")
