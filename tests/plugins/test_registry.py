"""Built-in types, and working and broken installed distributions."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from metavoxel.errors import PluginError, SchemaError
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel.plugins.registry import BASES, KINDS, is_builtin, load_registry, origin_of
from metavoxel.schema import parse_schema

BUILT_IN = {
    "variables": ["categorical", "continuous", "image", "labelmap"],
    "codecs": ["identity", "kl_vae", "linear", "local_pca", "onehot", "quantile", "wavelet"],
    "kernels": ["d3pm_uniform", "gaussian"],
    "adapters": ["grid", "grid_summary", "painted", "sequence", "token"],
    "backbones": ["mlp", "transformer", "unet"],
}

SOFT_CODEC = """
from typing import Literal
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.plugins.hookspecs import hookimpl

metavoxel_api = 2

class {name}(LinearSpec):
    type: Literal["{type}"] = "{type}"

@hookimpl
def metavoxel_codecs():
    return [{name}]
"""


def test_built_in_types_and_their_origin():
    registry = load_registry(entry_points=False)
    version = importlib.metadata.version("metavoxel")
    for kind in KINDS:
        assert registry.names(kind) == BUILT_IN[kind]
        for name in registry.names(kind):
            assert str(registry.origin(kind, name)) == f"metavoxel {version}"
            assert issubclass(registry.resolve(kind, name, "here"), BASES[kind])
    assert registry.failures == () and not registry.contested


def test_origin_of_settings():
    """A built-in class is recognised by its module alone; any other class by its entry point, or its package."""

    class Foreign(LinearSpec):
        __module__ = "some_package.codecs"

    assert is_builtin(LinearSpec()) and origin_of(LinearSpec()).distribution == "metavoxel"
    assert not is_builtin(Foreign()) and origin_of(Foreign()) == ("some_package", "0")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_lists_installed_types(kind):
    registry = load_registry(entry_points=False)
    name = BUILT_IN[kind][0]
    with pytest.raises(PluginError) as caught:
        registry.resolve(kind, name + "x", "variables.age.part")
    expected = f"variables.age.part: unknown type '{name}x'. Did you mean '{name}'? Installed: "
    assert str(caught.value) == expected + ", ".join(BUILT_IN[kind])


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution on the path, by name, version, entry points (name to module) and source of modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(distribution, version, points, modules):
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {module}" for name, module in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[metavoxel]", *lines, ""]))
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("mv_"):
            del sys.modules[name]


def test_an_installed_distribution_provides_types(install):
    install("mv-soft", "1.2", {"soft": "mv_soft"}, {"mv_soft": SOFT_CODEC.format(name="SoftSpec", type="soft")})
    registry = load_registry()
    assert str(registry.origin("codecs", "soft")) == "mv-soft 1.2"
    raw = {"cohort": {"table": "a"}, "variables": {"x": {"type": "continuous", "codec": "soft"}}}
    assert parse_schema(raw, folder=Path(), registry=registry).variables["x"].parts.codec.type == "soft"


def test_a_distribution_may_have_several_entry_points(install):
    modules = {f"mv_{type}": SOFT_CODEC.format(name="Spec", type=type) for type in ("firm", "limp")}
    install("mv-both", "3", {"a": "mv_firm", "b": "mv_limp"}, modules)
    registry = load_registry()
    assert registry.failures == ()
    assert [str(registry.origin("codecs", name)) for name in ("firm", "limp")] == ["mv-both 3", "mv-both 3"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_library_at_all", "importing it failed: ModuleNotFoundError: No module named 'no_such_library_at_all'"),
        ("raise SystemError('not today')", "importing it failed: SystemError: not today"),
        ("def broken(:", "importing it failed: SyntaxError"),
        ("metavoxel_api = 3", "written for plugin API 3, and this metavoxel has 2: upgrade metavoxel"),
        ("metavoxel_api = 'one'", "written for plugin API one, and this metavoxel has 2: upgrade mv-odd"),
    ],
)  # fmt: skip
def test_a_broken_distribution_is_named_and_affects_only_its_users(install, text, reason):
    install("mv-odd", "0.3", {"odd": "mv_odd"}, {"mv_odd": text})
    registry = load_registry()
    (failure,) = registry.failures
    assert str(failure.origin) == "mv-odd 0.3" and reason in failure.reason
    raw = {"cohort": {"table": "a"}, "variables": {"x": {"type": "continuous"}}}
    parse_schema(raw, folder=Path(), registry=registry)
    raw["variables"]["x"]["codec"] = "odd"
    with pytest.raises(SchemaError, match=r"unknown type 'odd'\..* Not usable: plugin mv-odd 0\.3 \("):
        parse_schema(raw, folder=Path(), registry=registry)


class Misplaced:
    """A codec returned by the hook of kernels."""

    @hookimpl
    def metavoxel_kernels(self):
        return [LinearSpec]


class Instances:
    """Settings objects instead of settings classes."""

    @hookimpl
    def metavoxel_codecs(self):
        return [LinearSpec()]


@pytest.mark.parametrize(("plugin", "base"), [(Misplaced, "AbstractKernel"), (Instances, "AbstractCodecSpec")])
def test_values_returned_by_hooks_are_checked(plugin, base):
    registry = load_registry(plugins=[plugin()], entry_points=False)
    (failure,) = registry.failures
    assert failure.origin.distribution == plugin.__name__
    assert f"not a class derived from {base}" in failure.reason
    assert [registry.names(kind) for kind in KINDS] == list(BUILT_IN.values())
