"""Conformance checks of all types that a plugin registers, for ``metavoxel plugins --check`` and the plugin's tests.

A variable type is checked with its ``examples``, together with its codec and those of its parts that the same plugin
registers. Parts that no variable type of the plugin uses are checked separately.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from metavoxel.errors import PluginError, did_you_mean
from metavoxel.parts.adapters.base import AbstractAdapterSpec, Ports, port_name
from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.conformance.adapters import adapter_checks, with_common
from metavoxel.parts.conformance.backbones import backbone_checks
from metavoxel.parts.conformance.checks import Check, bound
from metavoxel.parts.conformance.codecs import codec_checks
from metavoxel.parts.conformance.features import feature_checks
from metavoxel.parts.conformance.kernel_examples import has_example_codes
from metavoxel.parts.conformance.kernels import kernel_checks
from metavoxel.parts.conformance.settings import SETTINGS_CHECKS
from metavoxel.parts.conformance.variables import variable_checks
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import Example, Missing, Parts
from metavoxel.plugins.registry import BASES, KINDS, Registry, load_registry

PORTS = Ports({"grid": (4, 4, 4)}, grid_width=8, bottleneck_width=8, token_width=16, time_width=16)
"""Backbone ports that adapters are built for."""

FEWEST = 4
"""Minimum number of samples to check a codec with."""


def plugin_checks(plugin: object) -> Iterator[Check]:
    """Yield all checks of a plugin: a module or object with hooks, installed or not.

    Raises:
        PluginError: the plugin cannot be registered, or registers no type.
    """
    registry = load_registry(plugins=[plugin], entry_points=False)
    if registry.failures:
        raise PluginError("; ".join(f"{failure.origin}: {failure.reason}" for failure in registry.failures))
    builtin = load_registry(entry_points=False)
    registered = {
        kind: {
            name: registry.entries[kind][name][0] for name in registry.names(kind) if name not in builtin.entries[kind]
        }
        for kind in KINDS
    }
    yield from _checks_of(registered)


def installed_checks(registry: Registry, distribution: str) -> Iterator[Check]:
    """Yield all checks of the types that an installed distribution registers.

    Raises:
        PluginError: the distribution is not installed, or cannot be used.
    """
    installed = sorted({origin.distribution for entries in registry.entries.values() for _, origin in entries.values()})
    installed.remove("metavoxel")  # its own types are covered by its tests
    failed = [failure for failure in registry.failures if failure.origin.distribution == distribution]
    if failed:
        raise PluginError("\n".join(f"plugin {failure.origin} is not usable: {failure.reason}" for failure in failed))
    if distribution not in installed:
        raise PluginError(
            f"no plugin {distribution!r} is installed.{did_you_mean(distribution, installed)} "
            f"Installed: {', '.join(installed) or 'none'}"
        )
    registered = {
        kind: {name: settings for name, (settings, origin) in found.items() if origin.distribution == distribution}
        for kind, found in registry.entries.items()
    }
    yield from _checks_of(registered)


def _checks_of(registered: Mapping[str, Mapping[str, type[BaseModel]]]) -> Iterator[Check]:
    """Yield the checks of registered types, given by kind and name."""
    if not any(registered.values()):
        raise PluginError("the plugin registers no type: a hook of docs/reference/hooks.md must return one")
    checked: set[tuple[str, str]] = set()
    for name, settings in registered["variables"].items():
        examples = _examples(settings)
        yield bound(name, check_examples, settings, examples)
        for example in examples:
            assert isinstance(example, Example)
            yield from variable_checks(example.spec, example.cells)
            yield from _parts_checks(example, registered, checked)
    for kind in KINDS[1:]:
        for name, settings in registered[kind].items():
            if (kind, name) in checked:
                continue
            examples = _examples(settings)
            yield bound(name, check_examples, settings, examples)
            for example in examples:
                yield from _CHECKS_OF[kind](example)


def _examples(settings: type[BaseModel]) -> list[object]:
    assert issubclass(settings, tuple(BASES.values()))
    try:
        return list(settings.examples())  # type: ignore[attr-defined]
    except ValidationError:
        return []


def check_examples(settings: type[BaseModel], examples: list[object]) -> None:
    """Check that the type has examples: defaults for all settings, or an ``examples`` method."""
    assert examples, (
        f"{settings.__name__} gives nothing to check it with. Add a class method examples() that returns settings "
        "(of a variable type with cells, of a codec with data)"
    )


def _parts_checks(
    example: Example, registered: Mapping[str, Mapping[str, type[BaseModel]]], checked: set[tuple[str, str]]
) -> Iterator[Check]:
    """Yield checks of the codec of a variable type, and of its adapter and kernel if this plugin registers them."""
    spec, cells = example
    parts = spec.parts()
    resolved = spec.resolve(cells, multiple=parts.codec.grid_multiple())
    values = [value for value in map(resolved.parse, cells) if not isinstance(value, Missing)]
    data = torch.stack(values * -(-FEWEST // max(len(values), 1)))
    codec = parts.codec.build(resolved.data_shape)
    checked.add(("codecs", parts.codec.type))
    yield from (bound(parts.codec.type, check, parts.codec) for check in SETTINGS_CHECKS)
    yield from codec_checks(codec, data)
    if parts.adapter.type in registered["adapters"]:
        checked.add(("adapters", parts.adapter.type))
        yield from _adapter_checks(parts.adapter, parts.kernel, codec.code_shape)
    if parts.kernel.type in registered["kernels"]:
        checked.add(("kernels", parts.kernel.type))
        yield from kernel_checks(parts.kernel, _own_codes(parts, data))


def _own_codes(parts: Parts, data: Tensor) -> list[Tensor] | None:
    """Return codes for a kernel whose support is not built in, else None."""
    if has_example_codes(parts.kernel.support):
        return None
    codec = parts.codec.build(tuple(data.shape[1:])).eval()
    codec.fit(lambda: [data])
    with torch.no_grad():
        return [codec.encode(data).mean]


def _codec_example(example: tuple[AbstractCodecSpec, Tensor]) -> Iterator[Check]:
    settings, data = example
    yield from (bound(settings.type, check, settings) for check in SETTINGS_CHECKS)
    yield from codec_checks(settings.build(tuple(data.shape[1:])), data)


def _adapter_example(example: AbstractAdapterSpec) -> Iterator[Check]:
    spatial = bool(example.problems(spatial=False, grids=True))
    shape = (2, *PORTS.grids["grid"]) if spatial else (2,)
    yield from _adapter_checks(example, GaussianKernel(), shape)


def _backbone_example(example: AbstractBackboneSpec) -> Iterator[Check]:
    yield from (bound(example.type, check, example) for check in SETTINGS_CHECKS)
    multiple = example.grid_multiple()
    grids: dict[str, tuple[int, ...]] = {"grid": (4 * multiple, 4 * multiple)}
    backbone = example.build({} if example.problems(grids) else grids)
    yield from backbone_checks(backbone, respects_factors=example.respects_factors)


def _adapter_checks(
    settings: AbstractAdapterSpec, kernel: AbstractKernel, code_shape: tuple[int, ...]
) -> Iterator[Check]:
    yield from (bound(settings.type, check, settings) for check in SETTINGS_CHECKS)
    port = port_name(code_shape)
    ports = PORTS if port is None else PORTS._replace(grids={port: code_shape[1:]})
    context = with_common(settings, settings.context(kernel, code_shape, ports))
    if context.features is not None:
        yield from feature_checks(context.features, context)
    yield from adapter_checks(settings.build(context), context)


_CHECKS_OF: Mapping[str, Callable[[Any], Iterator[Check]]] = MappingProxyType(
    {
        "codecs": _codec_example,
        "kernels": kernel_checks,
        "adapters": _adapter_example,
        "backbones": _backbone_example,
    }
)
"""Checks of one example, by kind."""
