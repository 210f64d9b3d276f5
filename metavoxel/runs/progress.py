"""Progress records of training."""

from collections.abc import Mapping
from typing import NamedTuple


class Progress(NamedTuple):
    """Progress of one stage, with the metrics of the last step.

    Stages are 'cohort', 'codec T1w', 'codes T1w', 'codes of the table' and 'joint'.
    """

    stage: str
    done: int
    total: int
    metrics: Mapping[str, float]
