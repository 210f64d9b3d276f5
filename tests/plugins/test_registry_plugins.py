"""Third-party plugins: each hook provides types for schemas, and broken plugins affect only their own types."""

import re
from pathlib import Path
from typing import Literal

import pytest
import torch
from pydantic import Field

from metavoxel.errors import PluginError, SchemaError
from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.backbones.transformer import TransformerSpec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import Parts
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.plugins.hookspecs import API_VERSION, hookimpl
from metavoxel.plugins.registry import KINDS, KNOWN_PLUGINS, load_registry
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint, versions
from metavoxel.schema import parse_schema


class HalvedCodec(LinearSpec):
    """A plugin's codec."""

    type: Literal["halved"] = "halved"


class SofterKernel(GaussianKernel):
    """A plugin's kernel."""

    type: Literal["softer"] = "softer"
    softness: float = Field(1.0, description="softness (no unit)")


class PostedAdapter(TokenAdapterSpec):
    """A plugin's adapter."""

    type: Literal["posted"] = "posted"


class NarrowBackbone(TransformerSpec):
    """A plugin's backbone."""

    type: Literal["narrow"] = "narrow"


class ScoreVariable(ContinuousSpec):
    """A plugin's variable type, with the plugin's own parts."""

    type: Literal["score"] = "score"

    def parts(self):
        return Parts(HalvedCodec(), SofterKernel(), PostedAdapter())


class VariablePlugin:
    metavoxel_api = API_VERSION

    @hookimpl
    def metavoxel_variables(self):
        return [ScoreVariable]


class CodecPlugin:
    @hookimpl
    def metavoxel_codecs(self):
        return [HalvedCodec]


class KernelPlugin:
    @hookimpl
    def metavoxel_kernels(self):
        return [SofterKernel]


class AdapterPlugin:
    @hookimpl
    def metavoxel_adapters(self):
        return [PostedAdapter]


class BackbonePlugin:
    @hookimpl
    def metavoxel_backbones(self):
        return [NarrowBackbone]


PLUGINS = {
    "variables": (VariablePlugin, ScoreVariable),
    "codecs": (CodecPlugin, HalvedCodec),
    "kernels": (KernelPlugin, SofterKernel),
    "adapters": (AdapterPlugin, PostedAdapter),
    "backbones": (BackbonePlugin, NarrowBackbone),
}


def registry_of(*plugins):
    return load_registry(plugins=plugins, entry_points=False)


def name_of(settings):
    return settings.model_fields["type"].default


def schema_of(registry, variable, **sections):
    raw = {"cohort": {"table": "cohort.csv"}, "variables": {"mood": variable}, **sections}
    return parse_schema(raw, folder=Path(), registry=registry)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_adds_a_type(kind):
    plugin, settings = PLUGINS[kind]
    registry = registry_of(plugin())
    name = name_of(settings)
    assert registry.resolve(kind, name, "here") is settings
    assert registry.origin(kind, name).distribution == plugin.__name__
    assert registry.failures == ()
    builtin = registry_of()
    for other in KINDS:
        assert registry.names(other) == sorted([*builtin.names(other), *([name] if other == kind else [])])


def test_a_schema_uses_parts_of_plugins():
    registry = registry_of(*(plugin() for plugin, _ in PLUGINS.values()))
    schema = schema_of(
        registry,
        {"type": "continuous", "codec": "halved", "kernel": {"type": "softer", "softness": 2}, "adapter": "posted"},
        backbone={"type": "narrow", "width": 8, "heads": 2, "depth": 1},
    )
    codec, kernel, adapter = schema.variables["mood"].parts
    assert isinstance(codec, HalvedCodec) and isinstance(adapter, PostedAdapter)
    assert isinstance(kernel, SofterKernel) and kernel.softness == 2
    assert isinstance(schema.backbone, NarrowBackbone)


def test_a_variable_type_provides_its_parts():
    registry = registry_of(*(plugin() for plugin, _ in PLUGINS.values()))
    schema = schema_of(registry, {"type": "score"}, backbone={"type": "narrow", "width": 8, "heads": 2, "depth": 1})
    assert set(versions(schema, registry)) == {
        "torch",
        "metavoxel",
        *(plugin.__name__ for plugin, _ in PLUGINS.values()),
    }
    # The schema in a run folder is read back to the same settings.
    folder = Path()
    again = schema_of(registry, {"type": "score", "kernel": {"type": "softer"}}, backbone=schema.backbone.model_dump())
    assert again.to_yaml(folder) == schema.to_yaml(folder)
    joint = build_joint(schema, build_codecs(schema))
    rng = Rng.for_rows(3, "plugins")
    states, known = {"mood": rng.normal((3, 1))}, {"mood": torch.zeros(3, 1, dtype=torch.bool)}
    predictions = joint(states, {"mood": torch.full((3,), 0.5, dtype=torch.float64)}, known)
    assert predictions["mood"].shape == (3, 1)
    assert torch.isfinite(predictions["mood"]).all()


def test_settings_of_a_plugin_are_checked():
    registry = registry_of(KernelPlugin())
    with pytest.raises(SchemaError, match=r"variables\.mood\.kernel\.softnes: .*Did you mean 'softness'"):
        schema_of(registry, {"type": "continuous", "kernel": {"type": "softer", "softnes": 1}})


class Registered(TokenAdapterSpec):
    type: Literal["registered"] = "registered"
    alike: bool = True

    def build(self, context):
        adapter = super().build(context)
        adapter.mine = context.common
        return adapter


def test_modules_common_to_adapters_belong_to_the_model():
    class Plugin:
        metavoxel_api = API_VERSION

        @hookimpl
        def metavoxel_adapters(self):
            return [Registered]

    schema = schema_of(registry_of(Plugin()), {"type": "continuous", "adapter": "registered"})
    with pytest.raises(PluginError, match=r"variables\.mood\.adapter: .*registers a module of its context as its own"):
        build_joint(schema, build_codecs(schema))


def test_factors_beside_a_contested_backbone():
    class Rival:
        @hookimpl
        def metavoxel_backbones(self):
            return [NarrowBackbone]

    registry = registry_of(BackbonePlugin(), Rival())
    with pytest.raises(
        SchemaError, match=r"diffusion\.factors: backbone 'mlp' .* respect factors: narrow, transformer"
    ):
        schema_of(registry, {"type": "continuous"}, backbone="mlp", diffusion={"factors": [["mood"]]})


def test_a_name_of_two_plugins_affects_only_its_users():
    class Rival:
        @hookimpl
        def metavoxel_kernels(self):
            return [SofterKernel]

    registry = registry_of(KernelPlugin(), Rival())
    with pytest.raises(PluginError, match=r"two plugins give the type 'softer': KernelPlugin 0 and Rival 0"):
        registry.resolve("kernels", "softer", "here")
    assert [failure.origin.distribution for failure in registry.failures] == ["Rival"]
    schema_of(registry, {"type": "continuous"})


def test_names_of_built_in_types_are_reserved():
    class Replacement:
        @hookimpl
        def metavoxel_codecs(self):
            return [LinearSpec]

    with pytest.raises(PluginError, match=r"metavoxel \S+ and Replacement 0"):
        registry_of(Replacement()).resolve("codecs", "linear", "here")


class Newer:
    metavoxel_api = API_VERSION + 1

    @hookimpl
    def metavoxel_kernels(self):
        return [SofterKernel]


class Older(Newer):
    metavoxel_api = API_VERSION - 1


class Misspelt:
    @hookimpl
    def metavoxel_kernles(self):
        return [SofterKernel]


class Raising:
    @hookimpl
    def metavoxel_kernels(self):
        raise RuntimeError("no such device")


class Unsigned:
    @hookimpl
    def metavoxel_kernels(self, registry):
        return [SofterKernel]


class Nameless:
    @hookimpl
    def metavoxel_kernels(self):
        class NamelessKernel(GaussianKernel):
            type: str

        return [NamelessKernel]


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (Newer, f"written for plugin API {API_VERSION + 1}, and this metavoxel has {API_VERSION}: upgrade metavoxel"),
        (Older, "upgrade Older"),
        (Misspelt, "metavoxel_kernles"),
        (Raising, "RuntimeError: no such device"),
        (Unsigned, "registry"),
        (Nameless, "NamelessKernel.type has no default"),
    ],
)
def test_a_broken_plugin_is_reported_and_affects_only_its_types(plugin, reason):
    registry = registry_of(plugin(), CodecPlugin())
    (failure,) = registry.failures
    assert failure.origin.distribution == plugin.__name__
    assert reason in failure.reason
    assert registry.names("kernels") == registry_of().names("kernels")
    schema_of(registry, {"type": "continuous", "codec": "halved"})
    with pytest.raises(SchemaError, match=rf"unknown type 'softer'\. .*Not usable: plugin {plugin.__name__}"):
        schema_of(registry, {"type": "continuous", "kernel": "softer"})


@pytest.mark.parametrize(
    ("variable", "where", "plugin"),
    [
        ({"type": "ordinal"}, "type", "ordinal"),
        ({"type": "continuous", "kernel": "rectified_flow"}, "kernel.type", "rectified-flow"),
        ({"type": "continuous", "codec": {"type": "count"}}, "codec.type", "count"),
    ],
)
def test_a_known_plugin_that_is_absent_is_named_with_its_installation(variable, where, plugin):
    with pytest.raises(SchemaError, match=rf"variables\.mood\.{where}: .*pip install metavoxel-{plugin}"):
        schema_of(registry_of(), variable)


def test_known_plugins_are_those_of_this_repository():
    """Every type registered by a plugin of this repository is known, under its distribution's name."""
    folders = sorted((Path(__file__).resolve().parents[2] / "plugins").iterdir())
    found = {}
    for folder in folders:
        for path in folder.glob("metavoxel_*/*.py") if list(folder.glob("metavoxel_*/")) else folder.glob("*.py"):
            for name in re.findall(r'type: Literal\["(\w+)"\] = ', path.read_text(encoding="utf-8")):
                found[name] = folder.name
    assert found and set(found.items()) == {(name, plugin) for (_, name), plugin in KNOWN_PLUGINS.items()}


def test_the_registry_is_frozen():
    registry = registry_of(KernelPlugin())
    with pytest.raises(TypeError):
        registry.entries["kernels"]["another"] = registry.entries["kernels"]["softer"]
    assert "softer" not in registry_of().names("kernels"), "plugins of one registry leaked into the next"
