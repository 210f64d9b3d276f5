"""Checkpoints of a training stage: written at intervals of time, the last few kept, verified when they are read."""

import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import final

from torch import Tensor

from metavoxel.errors import RunError, RunWarning
from metavoxel.runs.checkpoint import DamagedError, load_weights, save_weights

MINUTES = 10.0
"""Default time between checkpoints: what a crash costs at most."""

KEPT = 2
"""Number of checkpoints kept: the newest, and the one to use if that is damaged."""


@final
class Checkpoints:
    """Checkpoints of one stage, ``NAME-STEP.safetensors`` in a folder.

    Args:
        folder: folder of the files; others may be in it.
        name: name of the stage.
        minutes: time after which the next checkpoint is due.
    """

    def __init__(self, folder: Path, name: str, minutes: float = MINUTES) -> None:
        self.folder, self._name, self._seconds = folder, name, 60 * minutes
        self._pattern = re.compile(rf"{re.escape(name)}-(\d{{8,}})\.safetensors")
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint, or the start of the process, is ``minutes`` ago."""
        return time.monotonic() - self._written >= self._seconds

    def write(self, step: int, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        """Write the checkpoint of a step, then remove older ones, and damaged ones of later steps.

        Raises:
            RunError: the disk is full, or the folder cannot be written; earlier checkpoints are kept.
        """
        save_weights(self.folder / f"{self._name}-{step:08}.safetensors", tensors, numbers)
        self._written = time.monotonic()
        kept = sorted(other for other in self._steps() if other <= step)[-KEPT:]
        for other, path in self._steps().items():
            if other not in kept:
                path.unlink(missing_ok=True)

    def newest(self) -> tuple[dict[str, Tensor], dict[str, float]] | None:
        """Read the newest checkpoint that is whole, with a warning for each damaged one; None if there is none.

        Raises:
            RunError: a checkpoint cannot be read.
        """
        steps = self._steps()
        for step in sorted(steps, reverse=True):
            try:
                return load_weights(steps[step])
            except DamagedError as error:
                earlier = [other for other in steps if other < step]
                used = f"that of step {max(earlier)} is used" if earlier else f"{self._name} starts from its beginning"
                warnings.warn(f"{error}; {used}", RunWarning, stacklevel=2)
            except OSError as error:
                raise RunError(f"{steps[step]}: cannot be read ({error.strerror}); make it readable") from error
        return None

    def clear(self) -> None:
        """Remove all checkpoints of a finished stage."""
        for path in self._steps().values():
            path.unlink(missing_ok=True)

    def _steps(self) -> dict[int, Path]:
        """Paths of the checkpoints by step."""
        if not self.folder.is_dir():
            return {}
        found = ((self._pattern.fullmatch(path.name), path) for path in self.folder.iterdir())
        return {int(match[1]): path for match, path in found if match}
