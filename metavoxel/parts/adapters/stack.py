"""Adapters of one kind computed as one."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from metavoxel.parts.adapters.base import AbstractAdapter, BackboneOutputs, Streams
from metavoxel.parts.stacking import Stack, row_times
from metavoxel.typing import Code, Mask, Time


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
