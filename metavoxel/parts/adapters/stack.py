"""Adapters of one kind, evaluated together."""

from collections.abc import Sequence

from torch import Tensor

from metavoxel.parts.adapters.base import AbstractAdapter, AdapterInputs, BackboneOutputs, Streams
from metavoxel.parts.stacking import Stack, row_times


class AdapterStack:
    """Adapters that differ only in their weights and buffers, which remain their own. Final.

    Methods take and return lists with one entry per adapter, equal to the result of the adapter's own method.
    """

    def __init__(self, adapters: Sequence[AbstractAdapter]) -> None:
        self._stack = Stack(adapters)

    def embed(self, inputs: Sequence[AdapterInputs]) -> list[Streams]:
        """Return streams of tokens alone: stackable adapters have no maps or context."""

        def tokens(adapter: AbstractAdapter, *parts: Tensor) -> Tensor:
            found = adapter.embed(AdapterInputs(*parts)).tokens
            assert found is not None
            return found

        x, time, observed, expected, baseline = zip(*inputs, strict=True)
        parts = [x, row_times(time), observed, expected]
        if all(one is not None for one in baseline):
            parts.append(baseline)
        return [Streams({}, found) for found in self._stack(tokens, *parts)]

    def head(self, outputs: Sequence[BackboneOutputs]) -> list[Tensor]:
        """Return the network's outputs from tokens."""

        def output(adapter: AbstractAdapter, tokens: Tensor) -> Tensor:
            return adapter.head(BackboneOutputs({}, {}, tokens))

        return list(self._stack(output, [entry.tokens for entry in outputs]))
