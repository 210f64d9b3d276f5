"""What is known of each variable when a question is asked, in code space."""

from typing import NamedTuple

from metavoxel.typing import Code, Mask


class Given(NamedTuple):
    """Known code of one variable.

    ``known`` marks the cells that are known: (b, 1), or (b, 1, *s) for a grid. ``sd``, in code units, says that the
    value
    was measured with that much noise; None means exactly.
    """

    code: Code
    known: Mask
    sd: float | None = None
