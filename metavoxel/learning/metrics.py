"""What training measures, written as it goes."""

import json
from collections.abc import Mapping

from lightning_fabric import Fabric
from torch.utils.tensorboard import SummaryWriter

from metavoxel.learning.run import RunFolder


class MetricsWriter:
    """Metrics as JSON lines and TensorBoard events, from the first process alone. Final."""

    def __init__(self, folder: RunFolder, fabric: Fabric) -> None:
        self._path = folder.metrics
        self._events = SummaryWriter(str(folder.events)) if fabric.is_global_zero else None

    def write(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Add the figures of one step."""
        if self._events is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(f"{stage}/{name}", value, step)
        self._events.flush()
