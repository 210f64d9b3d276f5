"""The adapters of all variables, with those of one kind evaluated together."""

from collections.abc import Mapping

from torch import Tensor

from metavoxel.parts.adapters.base import AbstractAdapter, AdapterInputs, BackboneOutputs, Streams
from metavoxel.parts.adapters.stack import AdapterStack
from metavoxel.parts.stacking import alike, each


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

    def embed(self, inputs: Mapping[str, AdapterInputs], *, grids: bool) -> dict[str, Streams]:
        """Return the streams of every variable; without grids (``embed_without_grids``) unless ``grids``."""

        def of_one(name: str) -> Streams:
            adapter = self._adapters[name]
            return (adapter.embed if grids else adapter.embed_without_grids)(inputs[name])

        stacked = [(names, stack.embed) for names, stack in self.stacks]
        return each(list(inputs), of_one, stacked, inputs)

    def heads(self, outputs: Mapping[str, BackboneOutputs]) -> dict[str, Tensor]:
        """Return the network's output for each of these variables."""
        stacked = [(names, stack.head) for names, stack in self.stacks]
        return each(list(outputs), lambda name: self._adapters[name].head(outputs[name]), stacked, outputs)
