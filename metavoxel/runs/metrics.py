"""Training metrics, written during training."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch.utils.tensorboard import SummaryWriter

from metavoxel.runs.run import RunFolder
from metavoxel.storage.atomic import located


class MetricsWriter:
    """Write metrics as JSON lines and TensorBoard events, in the first process only. Final."""

    def __init__(self, folder: RunFolder, fabric: Fabric) -> None:
        self._path, self._start = folder.metrics, time.perf_counter()
        self._events = SummaryWriter(str(folder.events)) if fabric.is_global_zero else None
        self._torn = fabric.is_global_zero and _ends_within_a_line(folder.metrics)

    def write(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of one step, and the seconds since this process started training.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        if self._events is None:
            return
        with located(self._path), self._path.open("a", encoding="utf-8") as file:
            seconds = round(time.perf_counter() - self._start, 3)
            file.write("\n" if self._torn else "")  # ends the line in which a crash stopped
            self._torn = False
            file.write(json.dumps({"stage": stage, "step": step, **metrics, "seconds": seconds}) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(f"{stage}/{name}", value, step)
        self._events.flush()


def read_metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """Read the metrics of a run, without lines in which a crash stopped."""
    found = []
    for line in folder.metrics.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _ends_within_a_line(path: Path) -> bool:
    content = path.read_bytes() if path.exists() else b""
    return bool(content) and not content.endswith(b"\n")


def training_seconds(folder: RunFolder) -> float | None:
    """Sum the wall time of a run's training up to its last metrics; each process that resumed it counts from 0.

    None if no metrics record their time.
    """
    if not folder.metrics.exists():
        return None
    lines = read_metrics(folder)
    times = [line["seconds"] for line in lines if "seconds" in line]
    if not times:
        return None
    return sum(now for now, later in zip(times, [*times[1:], -1.0], strict=True) if later < now)
