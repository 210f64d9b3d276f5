"""Several adapters of one kind, computed as one: a hundred small networks in a row cost calls more than arithmetic."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metavoxel.parts.adapters.base import AbstractAdapter, Features, Information, Streams
from metavoxel.parts.adapters.embedding import row_time
from metavoxel.typing import Code, Mask, Time

_Result = TypeVar("_Result")

FEWEST_STACKED = 4
"""Adapters of one kind that are computed as one: fewer are as fast one after another."""


class AdapterBank:
    """The adapters of all variables, to be asked together. Final.

    Args:
        adapters: by variable.
        kinds: by variable; adapters of one kind differ by weights alone.
    """

    def __init__(self, adapters: Mapping[str, AbstractAdapter], kinds: Mapping[str, str]) -> None:
        self._adapters = dict(adapters)
        alike: dict[str, list[str]] = {}
        for name, adapter in adapters.items():
            if adapter.stackable:
                alike.setdefault(kinds[name], []).append(name)
        self.stacks = [
            (names, AdapterStack([adapters[name] for name in names]))
            for names in alike.values()
            if len(names) >= FEWEST_STACKED
        ]

    def each(
        self,
        own: Callable[[AbstractAdapter], Callable[..., _Result]],
        stacked: Callable[["AdapterStack"], Callable[..., list[_Result]]],
        names: Collection[str],
        *inputs: Mapping[str, Any],
    ) -> dict[str, _Result]:
        """What a method of the adapters of these variables says, in their order; of those that are alike, as one."""
        found: dict[str, _Result] = {}
        for alike, stack in self.stacks:
            if set(alike) <= set(names):
                results = stacked(stack)(*([entries[name] for name in alike] for entries in inputs))
                found |= zip(alike, results, strict=True)
        return {
            name: found[name] if name in found else own(self._adapters[name])(*(entries[name] for entries in inputs))
            for name in names
        }


class _Part(nn.Module):
    """One method of an adapter as a module's, so that other weights can be put in. Final."""

    def __init__(self, adapter: AbstractAdapter, method: Callable[..., Any]) -> None:
        super().__init__()
        self.adapter, self._method = adapter, method

    def forward(self, *inputs: Tensor) -> Any:
        return self._method(self.adapter, *inputs)


class AdapterStack:
    """Adapters that are alike but for their weights and buffers, which stay their own. Final.

    Each method takes and gives a list, an entry for each adapter, and says what the adapter's own method says.
    """

    def __init__(self, adapters: Sequence[AbstractAdapter]) -> None:
        self._adapters = list(adapters)
        # Where weights and buffers are, not what they are: those are replaced when a module moves to another device.
        self._places = [dict(_places(adapter)) for adapter in adapters]

    def measure(self, x: Sequence[Code], time: Sequence[Time], observed: Sequence[Mask]) -> list[Information]:
        """What noisy codes say of their features."""
        measured = self._mapped(lambda adapter, *inputs: tuple(adapter.measure(*inputs)), x, _rows(time), observed)
        return [Information(*parts) for parts in zip(*measured, strict=True)]

    def embed(
        self, x: Sequence[Code], time: Sequence[Time], observed: Sequence[Mask], belief: Sequence[Tensor]
    ) -> list[Streams]:
        """Tokens, and what goes past the backbone: such adapters have no maps and no context."""

        def parts(adapter: AbstractAdapter, *inputs: Any) -> tuple[Tensor, ...]:
            streams = adapter.embed(*inputs)
            assert streams.tokens is not None
            return (streams.tokens,) if streams.skip is None else (streams.tokens, streams.skip)

        embedded = self._mapped(parts, x, _rows(time), observed, belief)
        return [Streams({}, tokens, skip=skip[0] if skip else None) for tokens, *skip in zip(*embedded, strict=True)]

    def head(self, features: Sequence[Features]) -> list[Tensor]:
        """Predictions from tokens, and from what went past the backbone."""

        def predicted(adapter: AbstractAdapter, tokens: Tensor, *skip: Tensor) -> Tensor:
            return adapter.head(Features({}, {}, tokens, skip[0] if skip else None))

        inputs = [[entry.tokens for entry in features]]
        if features[0].skip is not None:
            inputs.append([entry.skip for entry in features])
        predictions: Tensor = self._mapped(predicted, *inputs)
        return list(predictions)

    def _mapped(self, method: Callable[..., Any], *inputs: Sequence[Any]) -> Any:
        """A method of all adapters on their inputs, stacked along a first axis as its results are."""
        part = _Part(self._adapters[0], method)
        weights = {
            f"adapter.{path}": torch.stack([getattr(*places[path]) for places in self._places])
            for path in self._places[0]
        }

        def one(own: dict[str, Tensor], *entries: Tensor) -> Any:
            return functional_call(part, own, entries)

        return torch.vmap(one, randomness="different")(weights, *(torch.stack(list(entries)) for entries in inputs))


def _places(adapter: AbstractAdapter) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    """The path of each weight and buffer, and which module has it under which name."""
    for path, module in adapter.named_modules():
        for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            yield f"{path}.{name}" if path else name, (module, name)


def _rows(times: Sequence[Time]) -> list[Tensor]:
    return [row_time(time) for time in times]
