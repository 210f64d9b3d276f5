"""What training tells while it goes."""

from collections.abc import Mapping
from typing import NamedTuple


class Progress(NamedTuple):
    """How far one stage is: 'cohort', 'codec T1w', 'codes T1w' or 'joint'. ``metrics`` are of the last step."""

    stage: str
    done: int
    total: int
    metrics: Mapping[str, float]
