"""The adapters of all variables, with those of one kind evaluated together."""

from collections.abc import Mapping

from torch import Tensor

from metavoxel.parts.adapters.base import AbstractAdapter, BackboneOutputs, Streams
from metavoxel.parts.adapters.stack import AdapterStack
from metavoxel.parts.stacking import alike, each
from metavoxel.typing import AnyCode, AnyMask, AnyTime


class AdapterBank:
    """The adapters of all variables. Final.

    Args:
        adapters: by variable.
        kinds: by variable; adapters of one kind differ only in their weights.
    """

    def __init__(self, adapters: Mapping[str, AbstractAdapter], kinds: Mapping[str, str]) -> None:
        self._adapters = dict(adapters)
        stackable = {name: adapter for name, adapter in adapters.items() if adapter.stackable}
        self.stacks = [(names, AdapterStack(same)) for names, same in alike(stackable, kinds)]

    def embed(
        self,
        states: Mapping[str, AnyCode],
        times: Mapping[str, AnyTime],
        observed: Mapping[str, AnyMask],
        expected: Mapping[str, Tensor],
        baselines: Mapping[str, Tensor | None],
        *,
        grids: bool,
    ) -> dict[str, Streams]:
        """Return the streams of every variable; without grids (``embed_without_grids``) unless ``grids``."""

        def of_one(name: str) -> Streams:
            adapter = self._adapters[name]
            embed = adapter.embed if grids else adapter.embed_without_grids
            return embed(states[name], times[name], observed[name], expected[name], baselines[name])

        stacked = [(names, stack.embed) for names, stack in self.stacks]
        return each(list(states), of_one, stacked, states, times, observed, expected, baselines)

    def heads(self, outputs: Mapping[str, BackboneOutputs]) -> dict[str, Tensor]:
        """Return the network's output for each of these variables."""
        stacked = [(names, stack.head) for names, stack in self.stacks]
        return each(list(outputs), lambda name: self._adapters[name].head(outputs[name]), stacked, outputs)
