"""The adapters of all variables, with those of one kind evaluated together."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from metavoxel.network.stacking import Stack, alike, each, row_times
from metavoxel.parts.adapters.base import AbstractAdapter, BackboneOutputs, Streams
from metavoxel.typing import AnyCode, AnyMask, AnyTime, Code, Mask, Time


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


class AdapterStack:
    """Adapters that differ only in their weights and buffers, which remain their own. Final.

    Methods take and return lists with one entry per adapter, equal to the result of the adapter's own method.
    """

    def __init__(self, adapters: Sequence[AbstractAdapter]) -> None:
        self._stack = Stack(adapters)

    def embed(
        self,
        x: Sequence[Code],
        time: Sequence[Time],
        observed: Sequence[Mask],
        expected: Sequence[Tensor],
        baseline: Sequence[Tensor | None],
    ) -> list[Streams]:
        """Return streams of tokens alone: stackable adapters have no maps or context."""

        def tokens(adapter: AbstractAdapter, *inputs: Any) -> Tensor:
            found = adapter.embed(*inputs).tokens
            assert found is not None
            return found

        inputs: list[Sequence[Any]] = [x, row_times(time), observed, expected]
        if all(one is not None for one in baseline):
            inputs.append(baseline)
        return [Streams({}, found) for found in self._stack(tokens, *inputs)]

    def head(self, outputs: Sequence[BackboneOutputs]) -> list[Tensor]:
        """Return the network's outputs from tokens."""

        def output(adapter: AbstractAdapter, tokens: Tensor) -> Tensor:
            return adapter.head(BackboneOutputs({}, {}, tokens))

        return list(self._stack(output, [entry.tokens for entry in outputs]))
