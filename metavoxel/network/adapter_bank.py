"""The adapters of all variables, those of one kind computed as one."""

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
        kinds: by variable; adapters of one kind differ by weights alone.
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
        """Streams of every variable; without any work on grids unless ``grids``."""

        def of_one(name: str) -> Streams:
            adapter = self._adapters[name]
            embed = adapter.embed if grids else adapter.embed_without_grids
            return embed(states[name], times[name], observed[name], expected[name], baselines[name])

        stacked = [(names, stack.embed) for names, stack in self.stacks]
        return each(list(states), of_one, stacked, states, times, observed, expected, baselines)

    def heads(self, outputs: Mapping[str, BackboneOutputs]) -> dict[str, Tensor]:
        """The network's own output of each of these variables."""
        stacked = [(names, stack.head) for names, stack in self.stacks]
        return each(list(outputs), lambda name: self._adapters[name].head(outputs[name]), stacked, outputs)


class AdapterStack:
    """Adapters that are alike but for their weights and buffers, which stay their own. Final.

    Each method takes and gives a list, an entry for each adapter, equal to what the adapter's own method gives.
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
        """Tokens: such adapters have no maps and no context."""

        def tokens(adapter: AbstractAdapter, *inputs: Any) -> Tensor:
            found = adapter.embed(*inputs).tokens
            assert found is not None
            return found

        inputs: list[Sequence[Any]] = [x, row_times(time), observed, expected]
        if all(one is not None for one in baseline):
            inputs.append(baseline)
        return [Streams({}, found) for found in self._stack(tokens, *inputs)]

    def head(self, outputs: Sequence[BackboneOutputs]) -> list[Tensor]:
        """The network's outputs from tokens."""

        def output(adapter: AbstractAdapter, tokens: Tensor) -> Tensor:
            return adapter.head(BackboneOutputs({}, {}, tokens))

        return list(self._stack(output, [entry.tokens for entry in outputs]))
