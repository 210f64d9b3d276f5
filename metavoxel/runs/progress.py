"""Progress records of training."""

from collections.abc import Mapping
from typing import NamedTuple


class Progress(NamedTuple):
    """Progress of one stage: 'cohort', 'codec T1w', 'codes T1w' or 'joint'. ``metrics`` are those of the last step."""

    stage: str
    done: int
    total: int
    metrics: Mapping[str, float]
