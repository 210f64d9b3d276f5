"""Output of ``metavoxel new-plugin``; ``make plugins`` checks that it installs and passes its tests."""

import importlib.util
import tomllib

import pytest

from metavoxel.cli.new_plugin import USAGE
from metavoxel.plugins.registry import load_registry
from metavoxel.testing import plugin_checks


@pytest.mark.parametrize("kind", USAGE)
def test_it_registers_one_type_with_examples_for_the_checks(metavoxel, tmp_path, kind):
    folder = tmp_path / "made"
    done = metavoxel("new-plugin", f"my-{kind}", "--kind", kind, "--output", folder)
    assert done.code == 0 and f"metavoxel plugins --check metavoxel-my-{kind}" in done.out
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == f"metavoxel-my-{kind}"
    (module,) = project["project"]["entry-points"]["metavoxel"].values()
    spec = importlib.util.spec_from_file_location(module, folder / f"{module}.py")
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    registry = load_registry(plugins=[plugin], entry_points=False)
    assert registry.failures == () and f"my_{kind}" in registry.names(f"{kind}s")
    assert f"type: my_{kind}" in (folder / "README.md").read_text() or kind in ("codec", "kernel")
    quick = [check for check in plugin_checks(plugin) if "settings" in check.name or "examples" in check.name]
    assert len(quick) >= 3
    for check in quick:
        check.run()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Blood count"], "NAME: 'Blood count' must be words of a-z and 0-9 with hyphens between"),
        (["my-thing", "--kind", "hat"], "--kind: 'hat' is not one of variable, codec, kernel, backbone"),
        (["image"], "NAME: a variable 'image' is installed; choose another name"),
        (["my-thing", "--output", "."], ".: exists already; choose another --output"),
    ],
    ids=["name", "kind", "taken", "exists"],
)
def test_invalid_plugins_are_refused(metavoxel, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = metavoxel("new-plugin", *arguments)
    assert done.code == 2 and message in done.err
    assert not list(tmp_path.iterdir())
