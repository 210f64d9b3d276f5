"""The command reference has every command with its current options."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from metavoxel.cli import app
from metavoxel.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "cli_tables.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("cli_tables", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_up_to_date():
    done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_has_a_table(tool):
    assert sorted(tool.names(tool.DOCUMENT.read_text(encoding="utf-8"))) == sorted(COMMANDS)


def test_an_outdated_table_is_found_and_rewritten(tool, tmp_path, monkeypatch, capsys):
    document = tmp_path / "cli.md"
    document.write_text("before\n<!-- command: sample -->\nsomething old\n<!-- end -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(tool, "DOCUMENT", document)
    monkeypatch.setattr(sys, "argv", ["cli_tables.py"])
    assert tool.main() == 1 and "out of date" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["cli_tables.py", "--write"])
    assert tool.main() == 0
    monkeypatch.setattr(sys, "argv", ["cli_tables.py"])
    assert tool.main() == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "| `-n` | whole number ≥ 1 | `8` |" in text and "`--check`, `--no-check`" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_tables_have_the_options_that_typer_accepts(tool, name):
    group = get_command(app)
    _, command, _ = group.resolve_command(group.context_class(group, info_name="metavoxel"), [name])
    accepted = {option for one in command.params for option in [*one.opts, *one.secondary_opts] if option[0] == "-"}
    cells = [line.split(" | ")[0] for line in tool.tables()[name].splitlines() if line.startswith("| `")]
    assert {word for cell in cells for word in cell.split("`") if word.startswith("-")} == accepted - {"--help"}
