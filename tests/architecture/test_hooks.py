"""Every hook is for registration only, is documented, and has a test."""

import importlib
import re
from pathlib import Path

import pluggy
import pytest

ROOT = Path(__file__).resolve().parents[2]
HOOKS = (
    "metavoxel_variables",
    "metavoxel_codecs",
    "metavoxel_kernels",
    "metavoxel_adapters",
    "metavoxel_backbones",
)


@pytest.fixture(scope="module")
def specifications():
    """Hook callers by name, as pluggy finds them."""
    manager = pluggy.PluginManager("metavoxel")
    manager.add_hookspecs(importlib.import_module("metavoxel.plugins.hookspecs"))
    return {name: caller for name, caller in vars(manager.hook).items() if isinstance(caller, pluggy.HookCaller)}


def test_these_are_the_hooks(specifications):
    assert set(specifications) == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_only_registers(specifications, hook):
    """Its result is a list from every plugin: none wins, none comes first, none is remembered for later."""
    specification = specifications[hook].spec
    assert not specification.opts.get("firstresult")
    assert not specification.opts.get("historic")
    assert specification.function.__doc__
    assert "return" in specification.function.__annotations__


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_documented(specifications, hook):
    """docs/reference/hooks.md has a heading for it, with its signature as a plugin writes it."""
    text = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    signature = f"{hook}({', '.join(specifications[hook].spec.argnames)})"
    assert re.search(rf"^#+ .*{hook}", text, re.MULTILINE), f"no heading for {hook}"
    assert signature in text, f"docs/reference/hooks.md does not show {signature}"


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_test(hook):
    """Some test implements it, as a plugin would."""
    implementation = re.compile(rf"\bdef {hook}\(")
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path.parent != Path(__file__).parent]
    assert any(implementation.search(path.read_text(encoding="utf-8")) for path in tests), f"no test implements {hook}"


def test_no_hook_depends_on_order(package):
    ordered = re.compile(r"\b(?:tryfirst|trylast|hookwrapper|wrapper|firstresult|historic)\s*=\s*True")
    wrong = [name for name, module in package.items() if ordered.search(module.path.read_text(encoding="utf-8"))]
    assert not wrong, wrong
