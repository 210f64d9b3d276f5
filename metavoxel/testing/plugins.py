"""Checks of everything that a plugin registers: what ``metavoxel plugins --check`` runs, and a plugin's own tests.

A variable type, tried as its ``examples`` say, brings its codec and its plugin's other parts along; parts that no
variable type of the plugin has are tried by themselves.
"""

from collections.abc import Iterator, Mapping

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from metavoxel.errors import PluginError, did_you_mean
from metavoxel.parts.adapters.base import AbstractAdapterSpec, AdapterContext, Ports
from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import Example, Missing, Parts
from metavoxel.plugins.registry import BASES, KINDS, Registry, load_registry
from metavoxel.testing.adapters import adapter_checks, with_common
from metavoxel.testing.backbones import backbone_checks
from metavoxel.testing.checks import Check, bound
from metavoxel.testing.codecs import codec_checks
from metavoxel.testing.kernels import kernel_checks
from metavoxel.testing.settings import SETTINGS_CHECKS
from metavoxel.testing.variables import variable_checks

PORTS = Ports({"grid": (4, 4, 4)}, grid_width=8, bottleneck_width=8, token_width=16, level_width=16)
"""What adapters are built for."""

FEWEST = 4
"""Data that a codec is checked with."""


def plugin_checks(plugin: object) -> Iterator[Check]:
    """All checks of a plugin: a module or object with hooks, installed or not.

    Raises:
        PluginError: it cannot be registered, or gives nothing.
    """
    registry = load_registry(plugins=[plugin], entry_points=False)
    if registry.failures:
        raise PluginError("; ".join(f"{failure.origin}: {failure.reason}" for failure in registry.failures))
    builtin = load_registry(entry_points=False)
    given = {
        kind: {
            name: registry.entries[kind][name][0] for name in registry.names(kind) if name not in builtin.entries[kind]
        }
        for kind in KINDS
    }
    yield from _checks_of(given)


def installed_checks(registry: Registry, distribution: str) -> Iterator[Check]:
    """All checks of what an installed distribution registers.

    Raises:
        PluginError: it is not installed, or cannot be used.
    """
    there = sorted({origin.distribution for entries in registry.entries.values() for _, origin in entries.values()})
    there.remove("metavoxel")  # whose own types have tests of their own
    failed = [failure for failure in registry.failures if failure.origin.distribution == distribution]
    if failed:
        raise PluginError("\n".join(f"plugin {failure.origin} is not usable: {failure.reason}" for failure in failed))
    if distribution not in there:
        raise PluginError(
            f"no plugin {distribution!r} is installed.{did_you_mean(distribution, there)} "
            f"Installed: {', '.join(there) or 'none'}"
        )
    given = {
        kind: {name: settings for name, (settings, origin) in found.items() if origin.distribution == distribution}
        for kind, found in registry.entries.items()
    }
    yield from _checks_of(given)


def _checks_of(given: Mapping[str, Mapping[str, type[BaseModel]]]) -> Iterator[Check]:
    """Checks of types, by kind and name."""
    if not any(given.values()):
        raise PluginError("it registers no type: a hook of docs/hooks.md has to return one")
    tried: set[tuple[str, str]] = set()
    for name, settings in given["variables"].items():
        examples = _examples(settings)
        yield bound(name, check_examples, settings, examples)
        for example in examples:
            assert isinstance(example, Example)
            yield from variable_checks(example.spec, example.cells)
            yield from _parts_checks(example, given, tried)
    for kind in KINDS[1:]:
        for name, settings in given[kind].items():
            if (kind, name) in tried:
                continue
            examples = _examples(settings)
            yield bound(name, check_examples, settings, examples)
            for one in examples:
                yield from _part_checks(one)


def _examples(settings: type[BaseModel]) -> list[object]:
    assert issubclass(settings, tuple(BASES.values()))
    try:
        return list(settings.examples())  # type: ignore[attr-defined]
    except ValidationError:
        return []


def check_examples(settings: type[BaseModel], examples: list[object]) -> None:
    """There is something to try the type with: defaults for all settings, or ``examples`` of its own."""
    assert examples, (
        f"{settings.__name__} gives nothing to check it with. Add a class method examples() that returns settings "
        "(of a variable type with cells, of a codec with data)"
    )


def _parts_checks(
    example: Example, given: Mapping[str, Mapping[str, type[BaseModel]]], tried: set[tuple[str, str]]
) -> Iterator[Check]:
    """Checks of the parts that a variable type chooses; of those that another plugin gives, its codec alone."""
    spec, cells = example
    parts = spec.parts()
    resolved = spec.resolve(cells, multiple=parts.codec.grid_multiple())
    values = [value for value in map(resolved.parse, cells) if not isinstance(value, Missing)]
    data = torch.stack(values * -(-FEWEST // max(len(values), 1)))
    codec = parts.codec.build(resolved.data_shape)
    tried.add(("codecs", parts.codec.type))
    yield from (bound(parts.codec.type, check, parts.codec) for check in SETTINGS_CHECKS)
    yield from codec_checks(codec, data)
    if parts.adapter.type in given["adapters"]:
        tried.add(("adapters", parts.adapter.type))
        yield from _adapter_checks(parts.adapter, parts.kernel, codec.code_shape)
    if parts.kernel.type in given["kernels"]:
        tried.add(("kernels", parts.kernel.type))
        yield from kernel_checks(parts.kernel, _own_codes(parts, data))


def _own_codes(parts: Parts, data: Tensor) -> list[Tensor] | None:
    """Codes for a kernel of a support that is not built in."""
    if parts.kernel.support in ("real", "one_hot"):
        return None
    codec = parts.codec.build(tuple(data.shape[1:])).eval()
    codec.fit(lambda: [data])
    with torch.no_grad():
        return [codec.encode(data).mean]


def _part_checks(one: object) -> Iterator[Check]:
    """Checks of a part that stands for itself."""
    if isinstance(one, tuple):
        settings, data = one
        assert isinstance(settings, AbstractCodecSpec)
        yield from (bound(settings.type, check, settings) for check in SETTINGS_CHECKS)
        yield from codec_checks(settings.build(tuple(data.shape[1:])), data)
    elif isinstance(one, AbstractKernel):
        yield from kernel_checks(one)
    elif isinstance(one, AbstractAdapterSpec):
        spatial = bool(one.problems(spatial=False, grids=True))
        shape = (2, *PORTS.grids["grid"]) if spatial else (2,)
        yield from _adapter_checks(one, GaussianKernel(), shape)
    else:
        assert isinstance(one, AbstractBackboneSpec)
        yield from (bound(one.type, check, one) for check in SETTINGS_CHECKS)
        multiple = one.grid_multiple()
        grids: dict[str, tuple[int, ...]] = {"grid": (4 * multiple, 4 * multiple)}
        backbone = one.build({} if one.problems(grids) else grids)
        yield from backbone_checks(backbone, keeps_factors=one.keeps_factors)


def _adapter_checks(
    settings: AbstractAdapterSpec, kernel: AbstractKernel, code_shape: tuple[int, ...]
) -> Iterator[Check]:
    yield from (bound(settings.type, check, settings) for check in SETTINGS_CHECKS)
    port = "grid" if len(code_shape) > 1 else None
    ports = PORTS._replace(grids={"grid": code_shape[1:]}) if port else PORTS
    context = AdapterContext(kernel, code_shape, kernel.prediction_channels(code_shape[0]), port, ports)
    context = with_common(settings, context)
    yield from adapter_checks(settings.build(context), context)
