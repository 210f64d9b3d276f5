"""``record.json``: what a method came to, for whoever reads its tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from metavoxel.comparisons.base import Done
from metavoxel.errors import Problem, RunError


@final
class Record:
    """The record of a method, kept in its folder and brought up to date after each of its jobs.

    In the file are ``method``, ``settings``, ``targets`` (what each was predicted from), ``training_seconds`` (all jobs
    together), ``seconds_a_row`` (to predict one row; of several targets, the mean), ``evaluations`` (of a network, a
    prediction), ``parameters`` (of all jobs together), ``failed`` (messages, or null), and ``jobs``, the same by job.
    """

    def __init__(self, folder: Path, method: str, settings: Mapping[str, object]) -> None:
        self._path, self._method, self._settings = folder / "record.json", method, dict(settings)
        self._jobs: dict[str, dict[str, Any]] = {}
        self._failures: dict[str, str] = {}

    def resume(self) -> None:
        """Take over the jobs that the file says are done; the file is there afterwards.

        Raises:
            RunError: they were done with other settings, or the file is none of this program's.
        """
        if not self._path.exists():
            self._write()
            return
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            settings, jobs = dict(found["settings"]), dict(found["jobs"])
        except (ValueError, KeyError, TypeError) as error:
            what = f"is no record of a comparison ({error!r}); remove its folder to make it anew"
            raise RunError(Problem(str(self._path), what)) from None
        changed = [name for name in self._settings if settings.get(name) != self._settings[name]]
        if changed:
            words = ", ".join(f"{name} {settings.get(name)!r}, not {self._settings[name]!r}" for name in changed)
            what = f"was made with {words}; ask for the same again, or remove the folder to make it anew"
            raise RunError(Problem(str(self._path.parent), what))
        self._jobs = jobs

    def is_done(self, job: str) -> bool:
        """Whether a job has nothing left to do."""
        return job in self._jobs

    @property
    def failures(self) -> dict[str, str]:
        """Messages by job."""
        return dict(self._failures)

    @property
    def targets(self) -> dict[str, Sequence[str]]:
        """Variables with a table, and what they were predicted from."""
        return {name: given for job in self._jobs.values() for name, given in job["targets"].items()}

    def add(self, job: str, done: Done, training_seconds: float) -> None:
        """A job is done."""
        self._jobs[job] = {"training_seconds": round(training_seconds, 3), **done._asdict()}
        self._write()

    def fail(self, job: str, message: str) -> None:
        """A job failed."""
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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".partial")
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self._path)
