"""Registry of installed types: each type by name, with the distribution and version that provide it."""

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, final

import pluggy
from pydantic import BaseModel

from metavoxel.errors import MetavoxelError, PluginError, Problem, did_you_mean
from metavoxel.parts.adapters.base import AbstractAdapterSpec
from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.plugins import builtin, hookspecs
from metavoxel.plugins.hookspecs import API_VERSION

BASES: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "variables": AbstractVariableSpec,
        "codecs": AbstractCodecSpec,
        "kernels": AbstractKernel,
        "adapters": AbstractAdapterSpec,
        "backbones": AbstractBackboneSpec,
    }
)
KINDS = tuple(BASES)

KNOWN_PLUGINS = MappingProxyType(
    {
        ("variables", "ordinal"): "metavoxel-ordinal",
        ("variables", "circular"): "metavoxel-circular",
        ("variables", "count"): "metavoxel-count",
        ("variables", "vector"): "metavoxel-vector",
        ("variables", "text"): "metavoxel-text",
        ("codecs", "circular"): "metavoxel-circular",
        ("codecs", "count"): "metavoxel-count",
        ("codecs", "pca"): "metavoxel-vector",
        ("codecs", "words"): "metavoxel-text",
        ("codecs", "bpe"): "metavoxel-text",
        ("codecs", "fsq"): "metavoxel-vq",
        ("codecs", "vq"): "metavoxel-vq",
        ("kernels", "absorbing"): "metavoxel-absorbing",
        ("kernels", "masked"): "metavoxel-absorbing",
        ("kernels", "birth_death"): "metavoxel-ordinal",
        ("kernels", "rectified_flow"): "metavoxel-rectified-flow",
        ("adapters", "ordinal"): "metavoxel-ordinal",
        ("backbones", "causal_lm"): "metavoxel-language",
    }
)
"""Types of this project's own plugins, so that errors can name the distribution to install."""


class Origin(NamedTuple):
    """Distribution and version that provide a type."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


def is_builtin(settings: BaseModel) -> bool:
    """Return whether a settings class is of metavoxel itself, without reading the installed entry points."""
    return _package(settings) == "metavoxel"


def origin_of(settings: BaseModel) -> Origin:
    """Find the distribution of a settings class, by the installed entry points."""
    package = _package(settings)
    for point in importlib.metadata.entry_points(group="metavoxel"):
        if point.dist is not None and point.module.partition(".")[0] == package:
            return Origin(point.dist.name, point.dist.version)
    return Origin(package, importlib.metadata.version(package) if package == "metavoxel" else "0")


def _package(settings: BaseModel) -> str:
    return type(settings).__module__.partition(".")[0]


@contextmanager
def attribute_errors(settings: BaseModel, where: str) -> Iterator[None]:
    """Attribute errors in the context to the plugin that provides ``settings``, if one does.

    Raises:
        PluginError: in place of any error but a MetavoxelError; names plugin and version.
    """
    try:
        yield
    except MetavoxelError:
        raise
    except Exception as error:
        if is_builtin(settings):
            raise
        origin = origin_of(settings)
        reason = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        name = getattr(settings, "type", type(settings).__name__)
        raise PluginError(Problem(where, f"{name!r} of plugin {origin} broke its contract: {reason}")) from error


class Failure(NamedTuple):
    """An unusable plugin or type of a plugin, and the reason."""

    origin: Origin
    reason: str


@final
@dataclass(frozen=True)
class Registry:
    """Installed types.

    ``entries[kind][name]`` is a settings class and its origin; ``contested`` holds an error message for each name that
    several plugins provide; ``failures`` lists unusable plugins.
    """

    entries: Mapping[str, Mapping[str, tuple[type[BaseModel], Origin]]]
    contested: Mapping[tuple[str, str], str] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def names(self, kind: str) -> list[str]:
        """List the installed names of a kind, sorted."""
        return sorted(self.entries[kind])

    def origin(self, kind: str, name: str) -> Origin:
        """Look up the distribution and version of a type."""
        return self.entries[kind][name][1]

    def resolve(self, kind: str, name: object, where: str) -> type[BaseModel]:
        """Look up the settings class of a name.

        Raises:
            PluginError: no such type, or several plugins provide it; the message lists the installed types.
        """
        if not isinstance(name, str):
            raise PluginError(Problem(where, f"must be the name of a type, not {name!r}"))
        if (kind, name) in self.contested:
            raise PluginError(Problem(where, self.contested[kind, name]))
        if name in self.entries[kind]:
            return self.entries[kind][name][0]
        what = f"unknown type {name!r}.{did_you_mean(name, self.names(kind))} Installed: {', '.join(self.names(kind))}"
        if (kind, name) in KNOWN_PLUGINS:
            what = f"type {name!r} comes with a plugin that is not installed: pip install {KNOWN_PLUGINS[kind, name]}"
        if self.failures:
            what += "".join(f". Not usable: plugin {failure.origin} ({failure.reason})" for failure in self.failures)
        raise PluginError(Problem(where, what))


def load_registry(plugins: Iterable[object] = (), *, entry_points: bool = True) -> Registry:
    """Collect the built-in types, those of ``plugins`` (modules or objects with hooks) and of installed distributions.

    A plugin that fails to import, requires another API version or violates a hook's signature is recorded, not raised:
    only schemas that use it fail.
    """
    manager = pluggy.PluginManager("metavoxel")
    manager.add_hookspecs(hookspecs)
    entries: dict[str, dict[str, tuple[type[BaseModel], Origin]]] = {kind: {} for kind in KINDS}
    contested: dict[tuple[str, str], str] = {}
    failures: list[Failure] = []

    def add(plugin: object, origin: Origin) -> None:
        required = getattr(plugin, "metavoxel_api", API_VERSION)
        if required != API_VERSION:
            newer = "metavoxel" if isinstance(required, int) and required > API_VERSION else origin.distribution
            reason = f"it is written for plugin API {required}, and this metavoxel has {API_VERSION}: upgrade {newer}"
            failures.append(Failure(origin, reason))
            return
        try:
            manager.register(plugin, name=f"{origin} {len(manager.get_plugins())}")  # one may have several entry points
            manager.check_pending()
            found = {kind: _collect(manager, plugin, kind) for kind in KINDS}
        except Exception as error:
            failures.append(Failure(origin, f"{type(error).__name__}: {error}"))
            if manager.is_registered(plugin):
                manager.unregister(plugin)
            return
        for kind, classes in found.items():
            for name, settings in classes.items():
                if name in entries[kind]:
                    both = f"{entries[kind][name][1]} and {origin}"
                    contested[kind, name] = f"two plugins give the type {name!r}: {both}. Uninstall one of them"
                    failures.append(Failure(origin, contested[kind, name]))
                else:
                    entries[kind][name] = (settings, origin)

    add(builtin, Origin("metavoxel", importlib.metadata.version("metavoxel")))
    for plugin in plugins:
        add(plugin, Origin(str(getattr(plugin, "__name__", type(plugin).__name__)), "0"))
    if entry_points:
        for point in sorted(importlib.metadata.entry_points(group="metavoxel"), key=lambda point: point.name):
            origin = Origin(point.dist.name, point.dist.version) if point.dist else Origin(point.name, "0")
            try:
                plugin = point.load()
            except Exception as error:
                failures.append(Failure(origin, f"importing it failed: {type(error).__name__}: {error}"))
                continue
            add(plugin, origin)
    frozen = {kind: MappingProxyType(found) for kind, found in entries.items()}
    return Registry(MappingProxyType(frozen), MappingProxyType(contested), tuple(failures))


def _collect(manager: pluggy.PluginManager, plugin: object, kind: str) -> dict[str, type[BaseModel]]:
    """Collect the types that one plugin provides for one kind, by name."""
    others = [other for other in manager.get_plugins() if other is not plugin]
    batches = manager.subset_hook_caller(f"metavoxel_{kind}", others)()
    classes: dict[str, type[BaseModel]] = {}
    for settings in (settings for batch in batches for settings in batch):
        if not (isinstance(settings, type) and issubclass(settings, BASES[kind])):
            raise TypeError(
                f"metavoxel_{kind} returns {settings!r}, which is not a class derived from {BASES[kind].__name__}"
            )
        name = settings.model_fields["type"].default
        if not isinstance(name, str):
            raise TypeError(f"{settings.__name__}.type has no default: write type: Literal['name'] = 'name'")
        classes[name] = settings
    return classes
