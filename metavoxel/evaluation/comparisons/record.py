"""``record.json``: settings, costs and failures of a comparison method."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from metavoxel.errors import Problem, RunError
from metavoxel.evaluation.comparisons.base import Done
from metavoxel.storage.atomic import write_text


@final
class Record:
    """Record of a method, stored in its folder and updated after each job.

    The file contains ``method``, ``settings``, ``targets`` (with the predictors of each), ``training_seconds`` (sum of
    all jobs), ``seconds_a_row`` (prediction time per row, mean over targets), ``evaluations`` (of the network per
    prediction), ``parameters`` (sum of all jobs), ``failed`` (messages, or null), and ``jobs`` (the same by job).
    """

    def __init__(self, folder: Path, method: str, settings: Mapping[str, object]) -> None:
        self._path, self._method, self._settings = folder / "record.json", method, dict(settings)
        self._jobs: dict[str, dict[str, Any]] = {}
        self._failures: dict[str, str] = {}

    def resume(self) -> None:
        """Load the completed jobs from the file, or create it.

        Raises:
            RunError: the jobs were run with other settings, or the file is not a comparison record.
        """
        if not self._path.exists():
            self._write()
            return
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            settings, jobs = dict(found["settings"]), dict(found["jobs"])
        except (ValueError, KeyError, TypeError) as error:
            what = f"is not a comparison record ({error!r}); remove its folder to run the method again"
            raise RunError(Problem(str(self._path), what)) from None
        changed = [name for name in self._settings if settings.get(name) != self._settings[name]]
        if changed:
            differences = ", ".join(f"{name} {settings.get(name)!r}, not {self._settings[name]!r}" for name in changed)
            what = f"was run with {differences}; use the same settings, or remove the folder to run the method again"
            raise RunError(Problem(str(self._path.parent), what))
        self._jobs = jobs

    def is_done(self, job: str) -> bool:
        """Return whether a job is completed."""
        return job in self._jobs

    @property
    def failures(self) -> dict[str, str]:
        """Error messages by job."""
        return dict(self._failures)

    @property
    def targets(self) -> dict[str, Sequence[str]]:
        """Variables with a table of predictions, and the predictors of each."""
        return {name: given for job in self._jobs.values() for name, given in job["targets"].items()}

    def add(self, job: str, done: Done, training_seconds: float) -> None:
        """Record a completed job."""
        self._jobs[job] = {"training_seconds": round(training_seconds, 3), **done._asdict()}
        self._write()

    def fail(self, job: str, message: str) -> None:
        """Record a failed job."""
        self._failures[job] = message
        self._write()

    def _write(self) -> None:
        jobs = list(self._jobs.values())
        rows = [job["seconds_a_row"] for job in jobs if job["targets"]]
        record = {
            "method": self._method,
            "training_seconds": round(sum(job["training_seconds"] for job in jobs), 3),
            "seconds_a_row": sum(rows) / len(rows) if rows else None,
            "evaluations": max((job["evaluations"] for job in jobs), default=0),
            "parameters": sum(job["parameters"] for job in jobs),
            "failed": "; ".join(f"{job}: {message}" for job, message in self._failures.items()) or None,
            "targets": self.targets,
            "settings": self._settings,
            "jobs": self._jobs,
        }
        write_text(self._path, json.dumps(record, indent=2) + "\n")
