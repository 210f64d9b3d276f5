"""Warnings about a training: skipped steps, spikes of the loss, variables that were not learnt, or overfitted."""

from collections.abc import Iterator, Mapping
from typing import Any

from metavoxel.errors import Problem

NO_BETTER = 0.995
"""Held-out loss, relative to a prediction of zero, from which a variable counts as no better than its prior."""

GAP, GAP_LOSS = 1.5, 0.05
"""Ratio and difference of the network's losses on held-out and on training rows above which it overfits."""


def training_warnings(record: Mapping[str, Any]) -> Iterator[str]:
    """Describe what is suspicious in the record of a finished run."""
    if skipped := record.get("skipped_steps", 0):
        yield f"{skipped:.0f} training steps were skipped, since their loss or gradient was not finite"
    if spikes := record.get("loss_spikes", 0):
        yield f"{spikes:.0f} training steps had a loss several times its average; try a lower learning rate"
    yield from map(str, variable_problems(record.get("validation", {})))


def variable_problems(validation: Mapping[str, Mapping[str, float]]) -> Iterator[Problem]:
    """Describe which variables are no better than their prior on held-out rows, and which the network overfits.

    For a standardised number and v-prediction, the prior's own prediction is zero (Salimans and Ho 2022, appendix D:
    v = alpha * epsilon - sigma * x, whose mean given the noisy value vanishes). A category's is at least as good as
    zero, which is the uniform distribution.

    Args:
        validation: for each variable, its ``loss`` and, if it is known, that of the network on held-out (``network``)
            and on ``training`` rows, relative to a prediction of zero.
    """
    for name, one in validation.items():
        if one["loss"] >= NO_BETTER:
            yield Problem(name, "no better than its prior on held-out rows; the other variables do not predict it")
        held_out, training = one.get("network", 0.0), one.get("training", 1.0)
        if held_out > max(GAP * training, training + GAP_LOSS):
            what = (
                f"the network overfits, its loss is {held_out:.3g} on held-out rows and {training:.3g} on training rows"
            )
            weight = f"its correction has the weight {one['network_weight']:.2g}"
            yield Problem(name, f"{what}; {weight}. More rows, fewer steps or a smaller backbone may help")
