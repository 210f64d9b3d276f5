"""The schema reference documents every section and every built-in type with its current settings."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from metavoxel.plugins.registry import load_registry
from metavoxel.schema import load_schema

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "schema_tables.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("schema_tables", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_up_to_date():
    done = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_type_has_a_table(tool):
    written = tool.names((ROOT / "docs" / "reference" / "schema.md").read_text(encoding="utf-8"))
    assert sorted(written) == sorted(tool.tables())


def test_outdated_tables_are_updated(tool):
    text = "before\n<!-- settings: diffusion -->\n| something old |\n<!-- end -->\nafter\n"
    current = tool.updated(text)
    assert current != text
    assert tool.updated(current) == current
    assert current.startswith("before\n") and current.endswith("after\n") and "`times`" in current


def test_every_setting_is_described(tool):
    """Every row of a table has a name, type, default and description."""
    for name, table in tool.tables().items():
        for row in table.splitlines()[2:]:
            cells = [cell.strip() for cell in row.strip("|").split(" | ")]
            assert len(cells) == 4 and all(cells), f"{name}: {row}"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/*.yaml")), ids=lambda path: path.name)
def test_examples_are_valid_schemas(path, monkeypatch):
    """The plugins that some of them use are registered."""
    plugins = []
    for name in ("ordinal", "absorbing", "text"):
        monkeypatch.syspath_prepend(str(ROOT / "plugins" / f"metavoxel-{name}"))
        plugins.append(importlib.import_module(f"metavoxel_{name}"))
    assert load_schema(path, load_registry(plugins, entry_points=False)).variables
