"""Warnings about a finished training: skipped steps, spikes of the loss, variables that were not learnt."""

from collections.abc import Iterator, Mapping
from typing import Any

NO_BETTER = 0.995
"""Held-out loss, relative to a prediction of zero, from which a variable counts as no better than its prior."""


def training_warnings(record: Mapping[str, Any]) -> Iterator[str]:
    """Describe what is suspicious in the record of a finished run.

    For a standardised number and v-prediction, the prior's own prediction is zero (Salimans and Ho 2022, appendix D:
    v = alpha * epsilon - sigma * x, whose mean given the noisy value vanishes). A category's is at least as good as
    zero, which is the uniform distribution.
    """
    if skipped := record.get("skipped_steps", 0):
        yield f"{skipped:.0f} training steps were skipped, since their loss or gradient was not finite"
    if spikes := record.get("loss_spikes", 0):
        yield f"{spikes:.0f} training steps had a loss several times its average; try a lower learning rate"
    for name, one in record.get("validation", {}).items():
        if one["loss"] >= NO_BETTER:
            yield f"{name}: no better than its prior on held-out rows; the other variables do not predict it"
