"""Modules of one structure, evaluated together.

A sequence of many small networks costs more in calls than in arithmetic. So modules that differ only in their weights
are evaluated by :func:`torch.vmap` of :func:`torch.func.functional_call` over their stacked weights.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metavoxel.parts.adapters.embedding import row_time
from metavoxel.typing import Time

_Module = TypeVar("_Module", bound=nn.Module)
_Result = TypeVar("_Result")

FEWEST_STACKED = 4
"""Smallest number of modules that are evaluated together: fewer are as fast one after another."""


def alike(modules: Mapping[str, _Module], kinds: Mapping[str, str]) -> Iterator[tuple[list[str], list[_Module]]]:
    """Yield the names and modules of each kind with at least ``FEWEST_STACKED`` of them."""
    names_of: dict[str, list[str]] = {}
    for name in modules:
        names_of.setdefault(kinds[name], []).append(name)
    for names in names_of.values():
        if len(names) >= FEWEST_STACKED:
            yield names, [modules[name] for name in names]


def each(
    names: Collection[str],
    of_one: Callable[[str], _Result],
    stacked: Sequence[tuple[list[str], Callable[..., list[_Result]]]],
    *inputs: Mapping[str, Any],
) -> dict[str, _Result]:
    """Return the results for these variables, in their order; stacks whose variables are all among them are used."""
    found: dict[str, _Result] = {}
    for together, method in stacked:
        if set(together) <= set(names):
            results = method(*([entries[name] for name in together] for entries in inputs))
            found |= zip(together, results, strict=True)
    return {name: found[name] if name in found else of_one(name) for name in names}


class _Method(nn.Module):
    """A function of a module as a ``forward``, so that ``functional_call`` can replace the module's weights. Final."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self._function = module, function

    def forward(self, *inputs: Tensor) -> Any:
        return self._function(self.module, *inputs)


class Stack:
    """Modules of one structure. Final."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._first = modules[0]
        # References to modules, not to tensors: those are replaced when a module moves to another device
        self._places = [dict(_places(module)) for module in modules]

    def __call__(self, function: Callable[..., Any], *inputs: Sequence[Any]) -> Any:
        """Apply a function to each module and its inputs; inputs and results are stacked along a first axis."""
        method = _Method(self._first, function)
        weights = {
            f"module.{path}": torch.stack([getattr(*places[path]) for places in self._places])
            for path in self._places[0]
        }

        def one(own: dict[str, Tensor], *entries: Tensor) -> Any:
            return functional_call(method, own, entries)

        return torch.vmap(one, randomness="different")(weights, *(torch.stack(list(entries)) for entries in inputs))


def _places(module: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    """Yield the path of each weight and buffer, with its module and its name there."""
    for path, part in module.named_modules():
        for name, _ in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            yield f"{path}.{name}" if path else name, (part, name)


def row_times(times: Sequence[Time]) -> list[Tensor]:
    """Return one time per row, for each entry."""
    return [row_time(time) for time in times]
